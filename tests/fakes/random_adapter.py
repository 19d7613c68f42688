"""Make a LoRA adapter of random values for the linear maps of a model."""

from __future__ import annotations

import numpy as np

from conself_local.adapters.formats import Adapter
from conself_local.model_files.gguf_weights import linear_shapes
from conself_local.model_files.model_file import ModelFile


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
