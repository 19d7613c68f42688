"""A LoRA merged into the user's own GGUF file: the adapted tensors are replaced in place, everything else stays byte for byte.

So tokenizer, template, metadata and the mix of number formats are the shipped file's; each adapted tensor is unpacked, moved
and packed again by ggml in its own format. Or in a better one: then a copy of the file in that format is what is changed.
Values always start from the shipped file's, so nothing is rounded twice.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import gguf
import numpy as np

from conself_local.adapters.formats import read_gguf_maps
from conself_local.errors import ConselfError
from conself_local.model_files import ggml
from conself_local.model_files.converted_weights import ORIGINAL, ensure_converted_weights
from conself_local.model_files.ggml import Floats
from conself_local.model_files.gguf_reader import GgufReader
from conself_local.model_files.model_file import ModelFile

_HOW = "export in another number format (--number-format Q8_0 or BF16)"


def merge_adapter(model: ModelFile, adapter: Path, target: Path, weights_format: str, cache: Path) -> None:
    """Write `target`: `model` with the GGUF LoRA `adapter` in it. weights_format: one of `FORMATS`.

    Raises ConselfError for a foreign adapter and for a format that cannot be written.
    """
    changes = read_gguf_maps(adapter, model)
    shipped = {tensor.name: tensor for tensor in GgufReader(model.path).tensors}
    part = target.with_suffix(".part")
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(
        model.path if weights_format == ORIGINAL else ensure_converted_weights(model, weights_format, cache), part
    )
    try:
        places = shipped if weights_format == ORIGINAL else {tensor.name: tensor for tensor in GgufReader(part).tensors}
        with part.open("r+b") as file:
            for name, (down, up) in changes.maps.items():
                if name not in shipped or tuple(shipped[name].shape[::-1]) != (up.shape[0], down.shape[1]):
                    raise ConselfError(
                        f"the adapter changes {name}, which does not fit the model", "use the model it was trained on"
                    )
                values = _values(shipped[name]) + np.float32(changes.scale) * (up @ down)
                place = places[name]
                if not ggml.can_pack(int(place.tensor_type)):
                    raise ConselfError(
                        f"{name} is in a format ({place.tensor_type.name}) that cannot be written again", _HOW
                    )
                packed = ggml.pack(int(place.tensor_type), values)
                assert packed.nbytes == place.n_bytes, "same format and shape, so same size"
                file.seek(int(place.data_offset))
                file.write(packed.tobytes())
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    part.rename(target)


def _values(tensor: gguf.ReaderTensor) -> Floats:
    columns, rows = (int(n) for n in tensor.shape)
    return ggml.unpack(int(tensor.tensor_type), np.asarray(tensor.data).view(np.uint8).reshape(-1), rows, columns)
