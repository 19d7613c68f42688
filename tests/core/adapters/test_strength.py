"""A weakened adapter changes the model by a part of what training changed, exactly or in the best way of its rank."""

from __future__ import annotations

import numpy as np
import pytest

from conself_local.adapters.formats import Adapter
from conself_local.adapters.strength import weaken
from tests.fakes.random_adapter import change_of

NAME = "model.layers.0.mlp.up_proj"


def _random(seed: int, rank: int = 3, scale: float = 2.0) -> Adapter:
    draw = np.random.default_rng(seed)
    a, b = draw.normal(size=(rank, 7)), draw.normal(size=(5, rank))
    return Adapter(scale, {NAME: (a.astype(np.float32), b.astype(np.float32))})


def test_the_worked_numbers() -> None:
    one = Adapter(2.0, {NAME: (np.ones((1, 2), np.float32), np.full((1, 1), 3, np.float32))})
    weak = weaken(one, 0.5)
    assert weak.scale == 2 and weak.maps[NAME][1].tolist() == [[1.5]]
    assert change_of(one, NAME).tolist() == [[6, 6]] and change_of(weak, NAME).tolist() == [[3, 3]]


def test_between_two_adapters_of_one_subspace_it_is_exact() -> None:
    before = _random(0, scale=1.5)
    a, b = before.maps[NAME]
    trained = Adapter(2.0, {NAME: (a, b + 1)})
    weak = weaken(trained, 0.25, before)
    assert weak.scale == trained.scale and weak.rank == trained.rank
    assert weak.maps[NAME][0].dtype == np.float32
    np.testing.assert_allclose(
        change_of(weak, NAME), 0.75 * change_of(before, NAME) + 0.25 * change_of(trained, NAME), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("strength", [0.25, 0.9])
def test_otherwise_it_is_the_nearest_of_its_rank(strength: float) -> None:
    before, trained = _random(1), _random(2)
    wanted = (1 - strength) * change_of(before, NAME) + strength * change_of(trained, NAME)
    u, values, v = np.linalg.svd(wanted)
    nearest = u[:, :3] * values[:3] @ v[:3]
    np.testing.assert_allclose(change_of(weaken(trained, strength, before), NAME), nearest, rtol=1e-4, atol=1e-4)
    assert values[3] > 0.1, "the sum has a higher rank, so something is lost"


def test_a_rank_above_the_size_of_a_map_is_filled_with_zeros() -> None:
    before, trained = _random(1, rank=6), _random(2, rank=6)
    weak = weaken(trained, 0.25, before)
    a, b = weak.maps[NAME]
    assert weak.rank == 6 and a.shape == (6, 7) and b.shape == (5, 6)
    wanted = 0.75 * change_of(before, NAME) + 0.25 * change_of(trained, NAME)
    np.testing.assert_allclose(change_of(weak, NAME), wanted, rtol=1e-4, atol=1e-4)


def test_where_the_parent_changes_nothing_a_part_is_kept() -> None:
    other = "model.layers.1.mlp.up_proj"
    before, trained = _random(1), Adapter(2.0, {**_random(2).maps, other: _random(3).maps[NAME]})
    weak = weaken(trained, 0.5, before)
    np.testing.assert_array_equal(weak.maps[other][1], trained.maps[other][1] / 2)
