"""Keep a part of what training changed: an adapter between the model before training and the trained one.

A part of the change often keeps most of the gain and loses less of what the model could do before. Source: weights
between a model and its trained copy (WiSE-FT, arXiv 2109.01903).
Not covered: which part is kept (the setting `training.strength`), and writing the adapter (`formats.py`).
"""

from __future__ import annotations

import numpy as np

from conself_local.adapters.formats import Adapter
from conself_local.model_files.ggml import Floats


def weaken(trained: Adapter, strength: float, before: Adapter | None = None) -> Adapter:
    """Return the adapter whose change is (1 - strength) * that of `before` + strength * that of `trained`.

    before: the adapter that was trained further; None: the model without an adapter. Scale and rank are those of
    `trained`. Where `before` changes nothing, the result is exact: B times the strength. Elsewhere the sum can have
    twice the rank, so the result is its best approximation of the same rank (the largest singular values).
    Worked numbers: scale 2, A (1, 1), B (3), strength 0.5 -> scale 2, A (1, 1), B (1.5): the change 6 becomes 3.
    """
    maps = {}
    for name, (a, b) in trained.maps.items():
        if before is None or name not in before.maps:
            maps[name] = (a, _floats(strength * b))
            continue
        first_a, first_b = before.maps[name]
        rows = np.concatenate([first_a, a])
        columns = np.concatenate([(1 - strength) * before.scale * first_b, strength * trained.scale * b], axis=1)
        new_a, new_b = _of_rank(rows, columns, trained.rank)
        maps[name] = (new_a, _floats(new_b / trained.scale))
    return Adapter(trained.scale, maps)


def _of_rank(a: Floats, b: Floats, rank: int) -> tuple[Floats, Floats]:
    """Return A (rank, in) and B (out, rank) whose product is nearest to b @ a in the Frobenius norm.

    Both factors are small, so the large product is never computed. A map with fewer rows or columns than `rank` has
    fewer singular values; zeros take their place.
    """
    left, right_of_b = np.linalg.qr(b.astype(np.float64))
    right, right_of_a = np.linalg.qr(a.astype(np.float64).T)
    u, values, v = np.linalg.svd(right_of_b @ right_of_a.T, full_matrices=False)
    roots = np.sqrt(values[:rank])
    missing = (0, rank - len(roots))
    new_a = np.pad(roots[:, None] * v[:rank] @ right.T, (missing, (0, 0)))
    return _floats(new_a), _floats(np.pad(left @ u[:, :rank] * roots, ((0, 0), missing)))


def _floats(values: np.ndarray) -> Floats:
    return np.ascontiguousarray(values, dtype=np.float32)
