"""Merge a LoRA adapter into a copy of the user's GGUF file.

Only the adapted tensors are replaced: ggml unpacks each of them, the change is added, and ggml packs it again in its
own number format. Everything else (tokenizer, template, metadata, the mix of formats) is copied byte for byte; the
parts of a split model are joined. If another number format is asked for, the copy is made from the weights converted to
that format; the values of adapted tensors are still taken from the original file, so they are not rounded twice.
Not covered: whether the change survives the rounding; `export.py` measures it.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import gguf
import numpy as np

from conself_local.adapters.formats import read_gguf_maps
from conself_local.errors import ConselfError
from conself_local.model_files import ggml
from conself_local.model_files.converted_weights import ORIGINAL, ensure_converted_weights, write_single_file
from conself_local.model_files.ggml import Floats
from conself_local.model_files.gguf_file import open_gguf
from conself_local.model_files.model_file import ModelFile
from conself_local.new_files import whole_file

_FORMAT_HINT = "export in another number format (--number-format Q8_0 or BF16)"


def merge_adapter(model: ModelFile, adapter: Path, target: Path, weights_format: str, cache: Path) -> None:
    """Write `target`: `model` with the GGUF LoRA file `adapter` merged into it.

    weights_format: one of `FORMATS`; cache: the folder of converted weights. `target` appears only when it is complete.
    Raises ConselfError if the adapter does not fit the model, or if a number format cannot be written.
    """
    changes = read_gguf_maps(adapter, model)
    original = {tensor.name: tensor for tensor in open_gguf(model.path).tensors}
    with whole_file(target) as part:
        if weights_format == ORIGINAL:
            write_single_file(model, part)
        else:
            shutil.copyfile(ensure_converted_weights(model, weights_format, cache), part)
        in_target = {tensor.name: tensor for tensor in open_gguf(part).tensors}
        with part.open("r+b") as file:
            for name, (down, up) in changes.maps.items():
                if name not in original or tuple(original[name].shape[::-1]) != (up.shape[0], down.shape[1]):
                    raise ConselfError(
                        f"the adapter changes {name}, which does not fit the model", "use the model it was trained on"
                    )
                values = _values(original[name]) + np.float32(changes.scale) * (up @ down)
                tensor = in_target[name]
                if not ggml.can_pack(int(tensor.tensor_type)):
                    raise ConselfError(
                        f"{name} is in a format ({tensor.tensor_type.name}) that cannot be written", _FORMAT_HINT
                    )
                packed = ggml.pack(int(tensor.tensor_type), values)
                assert packed.nbytes == tensor.n_bytes, "the same format and shape give the same size"
                file.seek(int(tensor.data_offset))
                file.write(packed.tobytes())


def _values(tensor: gguf.ReaderTensor) -> Floats:
    """Return the tensor as float32 (rows, columns)."""
    columns, rows = (int(n) for n in tensor.shape)
    return ggml.unpack(int(tensor.tensor_type), np.asarray(tensor.data).view(np.uint8).reshape(-1), rows, columns)
