"""Read the header of a safetensors file, and single tensors of it, without trusting either.

The format: eight bytes with the header's length, the header in JSON, then the values. Everything that the header says
is checked before a value is read, so memory is needed only for tensors that are wanted.
Source: safetensors, README (format); read and restated. The package's own reader for numpy knows no BF16.
"""

from __future__ import annotations

import json
import math
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from conself_local.foreign_files import open_regular

if TYPE_CHECKING:
    from conself_local.model_files.ggml import Floats

_MAX_HEADER_BYTES = 8 * 2**20
_BYTES = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2"), 1),
    **dict.fromkeys(("U16", "I16", "F16", "BF16"), 2),
    **dict.fromkeys(("U32", "I32", "F32"), 4),
    **dict.fromkeys(("U64", "I64", "F64"), 8),
}
"""Name of a type -> bytes of one value."""
_READ = {"F16": "float16", "BF16": "uint16", "F32": "float32"}
"""Name of a type -> the type of numpy as which its values are read."""


@dataclass(frozen=True)
class StoredTensor:
    """A tensor as the header describes it."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    """Place of its first value in the file, in bytes."""


def read_header(path: Path) -> dict[str, StoredTensor]:
    """Return name -> tensor of a file whose header is consistent and whose size is what the header says.

    Raises OSError if the file cannot be opened, and what parsers raise, mostly ValueError, if it is damaged.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        (length,) = struct.unpack("<Q", file.read(8))
        if length > min(size - 8, _MAX_HEADER_BYTES):
            raise ValueError("its header is too long")
        header = json.loads(file.read(length))
    tensors, last = {}, 0
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        dtype, shape, (begin, end) = entry["dtype"], tuple(entry["shape"]), entry["data_offsets"]
        if not all(type(number) is int and 0 <= number < 2**48 for number in (*shape, begin, end)) or len(shape) > 8:
            raise ValueError(f"{name[:100]} has an impossible shape or place")
        if end - begin != math.prod(shape) * _BYTES[dtype]:
            raise ValueError(f"{name[:100]} does not have the size of its shape")
        tensors[name] = StoredTensor(dtype, shape, 8 + length + begin)
        last = max(last, end)
    if 8 + length + last != size:
        raise ValueError("its size does not match its header")
    return tensors


def read_tensor(path: Path, tensor: StoredTensor) -> Floats:
    """Return an F32, F16 or BF16 tensor as float32. Raises ValueError for another type."""
    if tensor.dtype not in _READ:
        raise ValueError(f"a tensor has the type {tensor.dtype}; known are {', '.join(_READ)}")
    import numpy as np  # imported here, so that --help stays quick

    with open_regular(path) as file:
        file.seek(tensor.begin)
        values = np.fromfile(file, _READ[tensor.dtype], math.prod(tensor.shape))
    if tensor.dtype == "BF16":
        values = (values.astype(np.uint32) << 16).view(np.float32)
    return values.astype(np.float32, copy=False).reshape(tensor.shape)
