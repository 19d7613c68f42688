"""Check an mlx-lm adapter, a folder, before anything loads it, and compute its hash.

Only safetensors and JSON are read. Every tensor must be half of a linear map of the model and have its shape.
Not covered: DoRA and full fine-tuning, which mlx-lm cannot take off again, and the values (`adapters/formats.py`).
"""

from __future__ import annotations

import re
from pathlib import Path

from conself_local.errors import ConselfError
from conself_local.foreign_files import read_json, refusing
from conself_local.hashes import folder_sha256
from conself_local.model_files.mlx_folder import MlxFolder
from conself_local.model_files.safetensors_file import read_header

MLX_ADAPTER_FILES = ("adapter_config.json", "adapters.safetensors")
_MAX_CONFIG_BYTES = 2**20
_MAX_RANK = 2**16
_KEY = re.compile(r"(model\.layers\.\d+\.\w+\.\w+)\.lora_(a|b)")
_HINT = "give a LoRA adapter of mlx-lm that was trained on this model"


def mlx_adapter_sha256(folder: Path) -> str:
    """Return the hash of an adapter's two files. Raises OSError if one cannot be read."""
    return folder_sha256(folder, MLX_ADAPTER_FILES)


def verify_mlx_adapter(folder: Path, model: MlxFolder) -> None:
    """Check an adapter folder. Raises ConselfError unless it is a LoRA adapter for the model as mlx-lm writes it."""
    if not folder.is_dir():
        raise ConselfError(f"there is no adapter folder at {folder}", "give the folder that holds adapters.safetensors")
    settings, weights = (folder / name for name in MLX_ADAPTER_FILES)
    config = read_json(settings, _MAX_CONFIG_BYTES, _HINT)
    fine_tune_type = config.get("fine_tune_type", "lora")
    if fine_tune_type != "lora":
        raise ConselfError(f"{folder} is not a LoRA adapter (its fine_tune_type is {fine_tune_type!r:.50})", _HINT)
    with refusing(f"{folder} is damaged, or not an adapter of {model.name}", _HINT):
        parameters = config["lora_parameters"]
        rank, layers = parameters["rank"], config["num_layers"]
        if type(rank) is not int or not 1 <= rank < _MAX_RANK or type(layers) is not int:
            raise ValueError("it states no usable rank or number of layers")
        for name, tensor in read_header(weights).items():
            found = _KEY.fullmatch(name)
            shape = model.stored.linears.get(found[1]) if found else None
            if found is None or shape is None:
                raise ValueError(f"{name[:100]} is not part of a linear map of its layers")
            expected = (shape[1], rank) if found[2] == "a" else (rank, shape[0])
            if tensor.shape != expected:
                raise ValueError(f"{name[:100]} has the shape {tensor.shape}, not {expected}")
