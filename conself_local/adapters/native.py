"""Write an adapter in the form that the engine of its model loads: a GGUF LoRA file, or an mlx-lm folder.

The PEFT folder beside it, from which training continues, is written by `formats.write_peft`.
"""

from __future__ import annotations

from pathlib import Path

from conself_local.adapters.formats import Adapter, write_gguf, write_mlx
from conself_local.model_files.mlx_folder import MlxFolder
from conself_local.model_files.model import ADAPTER_PATHS, Model, adapter_form, gguf_model


def native_path(model: Model, folder: Path) -> Path:
    """Return where in the folder of an adapter the file or folder is that the engine of the model loads."""
    return folder / ADAPTER_PATHS[adapter_form(model)]


def write_native(adapter: Adapter, model: Model, folder: Path) -> Path:
    """Write the adapter into `folder`, which exists, and return where it is.

    Raises ConselfError if the adapter is for another model.
    """
    path = native_path(model, folder)
    if isinstance(model, MlxFolder):
        write_mlx(adapter, path, model.block_count)
    else:
        write_gguf(adapter, gguf_model(model, "a GGUF adapter"), path)
    return path
