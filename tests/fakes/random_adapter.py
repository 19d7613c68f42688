"""Make a LoRA adapter of random values for the linear maps of a model, and a home that has one."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from conself_local.adapters.formats import Adapter, write_gguf
from conself_local.hashes import file_sha256
from conself_local.model_files.bundled import bundled_model
from conself_local.model_files.ggml import Floats
from conself_local.model_files.gguf_weights import linear_shapes
from conself_local.model_files.model_file import ModelFile, load_model_file
from conself_local.store.store import IMPORTED, Store


def random_adapter(model: ModelFile, size: float, *, only: str = "", rank: int = 4) -> Adapter:
    """Return the adapter; the same arguments give the same values.

    size: the standard deviation of the values. only: a part of the names of the maps that are adapted (default: all).
    """
    random = np.random.default_rng(5)
    maps = {}
    for name, (rows, columns) in linear_shapes(model).items():
        a, b = (random.standard_normal(shape).astype(np.float32) * size for shape in ((rank, columns), (rows, rank)))
        if only in name:
            maps[name] = (a, b)
    return Adapter(2.0, maps)


def change_of(adapter: Adapter, name: str) -> Floats:
    """Return what the adapter adds to the weights of one linear map."""
    a, b = adapter.maps[name]
    change: Floats = (adapter.scale * b @ a).astype(np.float32)
    return change


def write_home(folder: Path, model: ModelFile | None = None) -> Path:
    """Make `folder` a home with an accepted random adapter, `random.gguf`, and return it.

    model: what the adapter is for (default: the bundled model).
    """
    model = model or load_model_file(bundled_model())
    path = folder / "random.gguf"
    write_gguf(random_adapter(model, 0.08), model, path)
    with Store(folder / "conself.db") as store:
        store.insert_adapter(
            {
                "name": "random",
                "round_id": IMPORTED,
                "parent_id": None,
                "peft_path": "",
                "path": str(path),
                "sha256": file_sha256(path),
                "state": "accepted",
                "model_path": str(model.path),
                "model_sha256": model.sha256,
            }
        )
    return folder
