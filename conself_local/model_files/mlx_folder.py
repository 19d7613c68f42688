"""Checks a folder of MLX weights, or of an mlx-lm adapter, before anything loads it: safetensors and JSON only.

A folder from the net is untrusted input: no pickle, no Python file that a configuration names, nothing fetched.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

from conself_local.errors import ConselfError

_GET_A_FOLDER = "give the folder of an MLX *instruct* model, as mlx_lm.convert writes it"
_MAX_HEADER_BYTES = 100 * 2**20
_RUNS_CODE = ("auto_map", "model_file", "custom_pipelines")
"""Keys of a configuration that make a library load Python from the folder."""


def verify_mlx_folder(folder: Path) -> None:
    """Raises ConselfError in words a person can act on."""
    if not folder.is_dir():
        raise ConselfError(f"there is no model folder at {folder}", _GET_A_FOLDER)
    for name in ("config.json", "tokenizer_config.json"):
        settings = _read_json(folder / name)
        code = [key for key in _RUNS_CODE if key in settings]
        if code:
            raise ConselfError(
                f"{folder / name} wants to run code of its own ({code[0]})", "use a model that mlx-lm knows by itself"
            )
    if not (folder / "tokenizer.json").is_file():
        raise ConselfError(f"{folder} has no tokenizer.json", _GET_A_FOLDER)
    weights = sorted(folder.glob("model*.safetensors"))
    if not weights:
        raise ConselfError(f"{folder} has no weights (model*.safetensors)", _GET_A_FOLDER)
    for file in weights:
        _verify_safetensors(file)


def verify_mlx_adapter(folder: Path) -> None:
    """Raises ConselfError unless it is a LoRA adapter as mlx-lm writes it."""
    if not folder.is_dir():
        raise ConselfError(f"there is no adapter folder at {folder}", "give the folder that holds adapters.safetensors")
    kind = _read_json(folder / "adapter_config.json").get("fine_tune_type", "lora")
    if kind not in ("lora", "dora"):
        raise ConselfError(f"{folder} is no LoRA adapter (its kind is {kind!r})", "give a LoRA adapter of mlx-lm")
    _verify_safetensors(folder / "adapters.safetensors")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConselfError(f"there is no {path.name} in {path.parent}", _GET_A_FOLDER) from None
    except (OSError, ValueError) as error:
        raise ConselfError(f"{path} cannot be read: {error}", "get the folder again") from error
    if not isinstance(content, dict):
        raise ConselfError(f"{path} holds no settings", "get the folder again")
    return content


def _verify_safetensors(path: Path) -> None:
    """The header is there and every tensor lies within the file."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > min(size - 8, _MAX_HEADER_BYTES):
                raise ValueError("its header is longer than the file")
            header = json.loads(file.read(length))
        ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
        if 8 + length + max(ends, default=0) != size:
            raise ValueError("its size is not what its header says")
    except FileNotFoundError:
        raise ConselfError(f"there is no {path.name} in {path.parent}", "get the folder again") from None
    except (OSError, ValueError, LookupError, TypeError, AttributeError, struct.error) as error:
        raise ConselfError(f"{path} is damaged or cut short: {error}", "get the folder again") from error
