"""Check a folder of MLX weights, or of an mlx-lm adapter, before anything loads it.

A folder from the internet is untrusted input. Only safetensors and JSON files are accepted: no pickle is read, no
Python file that a configuration names is run, and nothing is downloaded.
Not checked: the names, shapes and values of the tensors.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from conself_local.errors import ConselfError
from conself_local.foreign_files import read_json, refusing
from conself_local.model_files.safetensors_file import read_header

_FOLDER_HINT = "give the folder of an MLX *instruct* model, as mlx_lm.convert writes it"
_MAX_JSON_BYTES = 8 * 2**20
_RUNS_CODE = ("auto_map", "model_file", "custom_pipelines")
"""Keys of a configuration that make a library load Python code from the folder."""


def verify_mlx_folder(folder: Path) -> None:
    """Check a folder of MLX weights.

    Raises ConselfError if it is missing, incomplete or damaged, or if it would make a library run code from it.
    """
    if not folder.is_dir():
        raise ConselfError(f"there is no model folder at {folder}", _FOLDER_HINT)
    for name in ("config.json", "tokenizer_config.json"):
        settings = _read_json(folder / name)
        code = [key for key in _RUNS_CODE if key in settings]
        if code:
            raise ConselfError(
                f"{folder / name} asks to run code from the model folder ({code[0]})",
                "use a model that mlx-lm supports without extra code",
            )
    if not (folder / "tokenizer.json").is_file():
        raise ConselfError(f"{folder} has no tokenizer.json", _FOLDER_HINT)
    weights = sorted(folder.glob("model*.safetensors"))
    if not weights:
        raise ConselfError(f"{folder} has no weights (model*.safetensors)", _FOLDER_HINT)
    for file in weights:
        _verify_safetensors(file)


def verify_mlx_adapter(folder: Path) -> None:
    """Check an adapter folder. Raises ConselfError unless it is a LoRA adapter as mlx-lm writes it."""
    if not folder.is_dir():
        raise ConselfError(f"there is no adapter folder at {folder}", "give the folder that holds adapters.safetensors")
    fine_tune_type = _read_json(folder / "adapter_config.json").get("fine_tune_type", "lora")
    if fine_tune_type not in ("lora", "dora"):
        raise ConselfError(
            f"{folder} is not a LoRA adapter (its fine_tune_type is {fine_tune_type!r})",
            "give a LoRA adapter of mlx-lm",
        )
    _verify_safetensors(folder / "adapters.safetensors")


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise ConselfError(f"there is no {path.name} in {path.parent}", _FOLDER_HINT)
    return read_json(path, _MAX_JSON_BYTES, "download the folder again")


def _verify_safetensors(path: Path) -> None:
    """Raise ConselfError unless the header can be read and the last tensor ends where the file ends."""
    if not path.is_file():
        raise ConselfError(f"there is no {path.name} in {path.parent}", "download the folder again")
    with refusing(f"{path} is damaged or cut short", "download the folder again"):
        read_header(path)
