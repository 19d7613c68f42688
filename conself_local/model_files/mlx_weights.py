"""Read what the headers of a folder's safetensors files say: which tensors there are, their shapes and number formats.

A quantised tensor is stored as packed words with a scale and a bias per group, so its shape is computed from the
configuration and compared with the scales. No value is read here. Not covered: AWQ and GPTQ, whose tensors have other
names; mlx-lm converts them when it loads them, and they are not trained here.
Source: mlx, `mlx.core.quantize`; mlx-lm, utils.py; read and restated.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from conself_local.errors import ConselfError
from conself_local.foreign_files import read_json, refusing
from conself_local.model_files.safetensors_file import StoredTensor, read_header

_INDEX = "model.safetensors.index.json"
_MAX_INDEX_BYTES = 16 * 2**20
_PART = re.compile(r"model-(\d{5})-of-(\d{5})\.safetensors")
_MAX_PARTS = 1_000
_LINEAR = re.compile(r"(model\.layers\.\d+\.(?:self_attn|mlp)\.\w+)\.weight")
_WORD_BITS = 32
_AGAIN = "download the folder again"


@dataclass(frozen=True)
class MlxWeights:
    """The tensors of a folder."""

    size_bytes: int
    values: int
    """Number of values of all tensors, as if nothing were quantised."""
    formats: tuple[str, ...]
    """Number format of each tensor, `4-bit` or `BF16`."""
    linears: Mapping[str, tuple[int, int]] = field(hash=False)
    """`model.layers.0.self_attn.q_proj` -> (rows, columns), for every linear map of the layers."""


def read_mlx_weights(folder: Path, names: Sequence[str], quantization: object, hint: str) -> MlxWeights:
    """Read the headers of all weights of a folder.

    names: the files in the folder; quantization: that entry of the configuration. Raises ConselfError, with `hint` if
    there are no weights, if a file or a tensor is missing or damaged.
    """
    files = [name for name in names if name.startswith("model") and name.endswith(".safetensors")]
    if not files:
        raise ConselfError(f"{folder} has no weights (model*.safetensors)", hint)
    tensors: dict[str, StoredTensor] = {}
    in_file: dict[str, set[str]] = {}
    for name in files:
        with refusing(f"{folder / name} is damaged or cut short", _AGAIN):
            header = read_header(folder / name)
            if repeated := tensors.keys() & header.keys():
                raise ValueError(f"it holds {min(repeated)[:100]} a second time")
        tensors |= header
        in_file[name] = set(header)
    _verify_complete(folder, in_file)
    values, formats, linears = 0, [], {}
    for name, tensor in tensors.items():
        if _base(name) != name and f"{_base(name)}.weight" in tensors:
            continue  # scales and biases of a quantised tensor
        bits = 0
        shape = tensor.shape
        if tensor.dtype == "U32" and f"{name.removesuffix('.weight')}.scales" in tensors:
            scales = tensors[f"{name.removesuffix('.weight')}.scales"]
            with refusing(f"{name[:100]} in {folder} is not quantised as its configuration says", _AGAIN):
                bits, shape = _unpacked(name.removesuffix(".weight"), tensor.shape, scales.shape, quantization)
        values += math.prod(shape)
        formats.append(f"{bits}-bit" if bits else tensor.dtype)
        if (linear := _LINEAR.fullmatch(name)) and len(shape) == 2:
            linears[linear[1]] = (shape[0], shape[1])
    size = sum((folder / name).stat().st_size for name in files)
    return MlxWeights(size, values, tuple(formats), linears)


def _base(name: str) -> str:
    return name.removesuffix(".scales").removesuffix(".biases")


def _unpacked(
    name: str, packed: tuple[int, ...], scales: tuple[int, ...], quantization: object
) -> tuple[int, tuple[int, ...]]:
    """Return (bits per value, shape of the values) of a quantised tensor. Raises ValueError if they contradict."""
    if not isinstance(quantization, dict):
        raise ValueError("there is no quantization in config.json")
    own = quantization.get(name)
    stated: dict[str, Any] = quantization | own if isinstance(own, dict) else quantization
    bits, group = stated.get("bits"), stated.get("group_size")
    if type(bits) is not int or type(group) is not int or not 1 <= bits <= 8 or not 1 <= group <= 1024:
        raise ValueError("its bits or its group_size are unusable")
    columns = packed[-1] * _WORD_BITS // bits
    if len(packed) != len(scales) or packed[:-1] != scales[:-1] or columns != scales[-1] * group:
        raise ValueError(f"the shapes {packed} and {scales} do not fit {bits} bits in groups of {group}")
    return bits, (*packed[:-1], columns)


def _verify_complete(folder: Path, in_file: Mapping[str, set[str]]) -> None:
    """Raise ConselfError if a file or a tensor is missing that the index or the names of the files promise."""
    for name in in_file:
        part = _PART.fullmatch(name)
        count = min(int(part[2]), _MAX_PARTS) if part else 0
        for number in range(1, count + 1):
            if (wanted := f"model-{number:05d}-of-{count:05d}.safetensors") not in in_file:
                raise _missing(folder, wanted)
    index = folder / _INDEX
    if not index.is_file():
        return
    listed = read_json(index, _MAX_INDEX_BYTES, _AGAIN).get("weight_map")
    with refusing(f"{index} is damaged", _AGAIN):
        if not isinstance(listed, dict):
            raise ValueError("it has no weight_map")
        for tensor, name in listed.items():
            if not isinstance(name, str) or not re.fullmatch(r"model[\w.-]*\.safetensors", name):
                raise ValueError(f"it names the file {str(name)!r:.100}")
            if name not in in_file:
                raise _missing(folder, name)
            if tensor not in in_file[name]:
                raise _missing(folder, f"tensor {tensor[:100]} in {name}")


def _missing(folder: Path, what: str) -> ConselfError:
    return ConselfError(f"{folder} lacks the {what if ' ' in what else f'file {what}'}, so it is incomplete", _AGAIN)
