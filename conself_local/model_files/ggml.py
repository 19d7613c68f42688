"""Converts tensors between ggml's quantisation types and float32 with ggml's own shared library.

`unpack` reads every type that llama.cpp reads. `pack` writes every type that needs no importance matrix, K-quants
included, which the gguf package cannot write. Only `libggml-base` is loaded: no model, no threads, no devices.
"""

from __future__ import annotations

import ctypes
import importlib.util
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from conself_local.errors import ConselfError

Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]
_FLOAT32 = 0
_NEEDS_IMPORTANCE = (16, 17, 19, 29)
"""IQ2_XXS, IQ2_XS, IQ1_S and IQ1_M, which `pack` refuses: ggml aborts without an importance matrix."""


class _TypeTraits(ctypes.Structure):
    """The C structure `struct ggml_type_traits` of ggml.h."""

    _fields_ = (
        ("type_name", ctypes.c_char_p),
        ("block_size", ctypes.c_int64),
        ("interleaved", ctypes.c_int64),
        ("type_size", ctypes.c_size_t),
        ("is_quantized", ctypes.c_bool),
        ("to_float", ctypes.c_void_p),
        ("from_float", ctypes.c_void_p),
    )


_TO_FLOAT = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)


def unpack(quant_type: int, packed: Bytes, rows: int, columns: int) -> Floats:
    """Return the float32 values, shape (rows, columns), of a tensor of ggml type `quant_type`.

    packed: the tensor's bytes, contiguous. Raises ConselfError for an unknown type, or if their number does not match
    the shape. Plain floats are read without the library, so that it is not needed if torch unpacks all blocks.
    """
    if packed.nbytes != rows * row_bytes(quant_type, columns):
        raise ConselfError("a tensor's size does not match its shape", "the file is damaged; download it again")
    packed = np.ascontiguousarray(packed)
    if quant_type == _FLOAT32:
        return packed.view(np.float32).reshape(rows, columns).copy()
    traits = _traits(quant_type)
    values = np.empty((rows, columns), dtype=np.float32)
    _TO_FLOAT(traits.to_float)(packed.ctypes.data, values.ctypes.data, rows * columns)
    return values


def can_pack(quant_type: int) -> bool:
    """Return whether `pack` can write the type, because it needs no importance matrix."""
    return quant_type not in _NEEDS_IMPORTANCE


def pack(quant_type: int, values: Floats) -> Bytes:
    """Return float32 `values`, shape (rows, columns), as bytes of ggml type `quant_type`.

    Values are rounded as llama.cpp's own quantiser rounds them. Raises ConselfError if the type is unknown or needs an
    importance matrix, or if the columns do not fill whole blocks.
    """
    if not can_pack(quant_type):
        raise ConselfError(
            "this quantisation type cannot be written without an importance matrix",
            "choose another format for the export",
        )
    rows, columns = values.shape
    target = np.empty(rows * row_bytes(quant_type, columns), dtype=np.uint8)
    values = np.ascontiguousarray(values, dtype=np.float32)
    written = _library().ggml_quantize_chunk(quant_type, values.ctypes.data, target.ctypes.data, 0, rows, columns, None)
    assert written == target.nbytes, "ggml writes whole rows"
    return target


def row_bytes(quant_type: int, columns: int) -> int:
    """Return the size in bytes of a row of `columns` values. Raises ConselfError if they do not fill whole blocks."""
    if quant_type == _FLOAT32:
        return 4 * columns
    traits = _traits(quant_type)
    if columns % traits.block_size:
        raise ConselfError(
            f"a row of {columns} values does not fill blocks of {traits.block_size}",
            "the file is damaged; download it again",
        )
    return int(columns // traits.block_size * traits.type_size)


@cache
def _traits(quant_type: int) -> Any:
    pointer = _library().ggml_get_type_traits(quant_type) if 0 <= quant_type < 256 else None
    traits = pointer.contents if pointer else None
    if traits is None or not traits.block_size or not (traits.to_float or quant_type == _FLOAT32):
        raise ConselfError(
            f"llama.cpp cannot unpack tensors of ggml type {quant_type}",
            "use a file in a common format, such as Q4_K_M",
        )
    return traits


@cache
def _library() -> Any:
    """Load the libggml-base of llama-cpp-python without importing that package, which would load all of llama.cpp."""
    found = importlib.util.find_spec("llama_cpp")
    folder = Path(found.origin).parent / "lib" if found and found.origin else Path()
    files = [
        f for name in ("libggml-base.so", "libggml-base.dylib", "ggml-base.dll") for f in [folder / name] if f.is_file()
    ]
    if not files:
        raise ConselfError(
            "the installed llama-cpp-python has no libggml-base in its folder", "install llama-cpp-python again"
        )
    library = ctypes.CDLL(str(files[0]))
    library.ggml_get_type_traits.restype = ctypes.POINTER(_TypeTraits)
    library.ggml_get_type_traits.argtypes = [ctypes.c_int]
    library.ggml_quantize_chunk.restype = ctypes.c_size_t
    library.ggml_quantize_chunk.argtypes = [
        ctypes.c_int,
        ctypes.c_void_p,
        ctypes.c_void_p,
        ctypes.c_int64,
        ctypes.c_int64,
        ctypes.c_int64,
        ctypes.c_void_p,
    ]
    return library
