"""Settings that stood before better votes were possible give exactly the pairs that they gave then."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
from pathlib import Path

import pytest

from conself_local.method.behaviour import Behaviour
from conself_local.settings import LAPTOP, PAPER, Settings, replace_values
from conself_local.stages.score import ProblemEvidence, pairs_from, pairs_of
from conself_local.store.store import Store
from tests.fakes.home_of_rounds import REAL_ROUND

OLD = {
    "laptop": (LAPTOP, "3b3bc5fe4b3e6261"),
    "paper": (PAPER, "2eb5962d57b4c999"),
    "random": (replace_values(LAPTOP, {"pairs.pairing": "random"}), "27cb682b01364545"),
    "ran first": (
        replace_values(LAPTOP, {"pairs.rejected": "ran-first", "pairs.allow_constant_chosen": True}),
        "a92422410728e443",
    ),
    "no filters": (
        replace_values(
            LAPTOP, {"pairs.min_cluster_share": 0.0, "pairs.allow_constant_chosen": True, "pairs.max_pairs": 1}
        ),
        "0ef2f9f19d53b660",
    ),
}
"""Name -> (settings, digest of the pairs that they gave for `problems_of_a_seed` before)."""


def problems_of_a_seed(count: int = 300) -> list[ProblemEvidence]:
    """Return problems of 15 samples with few behaviours, some of them constant, silent or crashed; always the same."""
    draw = random.Random(36)
    found = []
    for number in range(count):
        inputs = draw.choice((2, 3, 8))
        kinds: list[Behaviour] = [
            tuple(draw.choice(("1", "2", "3", "None", None)) for _ in range(inputs))
            for _ in range(draw.choice((2, 4, 9)))
        ]
        kinds += [("None",) * inputs, ("0",) * inputs, (None,) * inputs]
        rows, behaviours = [], []
        for i in range(draw.randint(0, 15)):
            kind = draw.randrange(len(kinds))
            code = f"# {kind}\n" + "x" * draw.randrange(6)
            rows.append(
                {
                    "id": f"{number}/{i}",
                    "observation": i // 5,
                    "number": i % 5,
                    "code": code,
                    "compiled": draw.random() < 0.9,
                }
            )
            behaviours.append(kinds[kind])
        found.append(ProblemEvidence(str(number), rows, behaviours, 15))
    return found


def digest_of_pairs(settings: Settings) -> str:
    """Return the hash of all pairs of `problems_of_a_seed`, in order, with their weights."""
    pairs = [
        (pair.chosen.id, pair.rejected.id, pair.weight)
        for evidence in problems_of_a_seed()
        for pair in pairs_from(evidence, settings, 5)
    ]
    assert len(pairs) > 50
    return hashlib.sha256(json.dumps(pairs).encode()).hexdigest()[:16]


@pytest.mark.parametrize("name", OLD)
def test_old_settings_give_exactly_the_old_pairs(name: str) -> None:
    settings, digest = OLD[name]
    assert digest_of_pairs(settings) == digest


def test_a_stored_round_gives_the_pairs_that_it_stored(tmp_path: Path) -> None:
    """The round of `real_round.db` was made before; `conself verify` compares in the same way."""
    shutil.copy(REAL_ROUND, tmp_path / "conself.db")
    with Store(tmp_path / "conself.db") as store:
        columns = "id, round_id, problem_id, chosen_id, rejected_id, weight"
        stored = store.rows(f"select {columns} from pairs order by position")
        selected = store.rows(
            "select problem_id from metrics join round_problems using (round_id, problem_id) where selected order by position"
        )
        derived = [
            pair for row in selected for pair in pairs_of(store, store.round(1), store.problem(row["problem_id"]))
        ]
    assert stored and derived == stored
