"""The data of the screens, derived from a store that a real round made, agrees with the method's own functions."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from conself_local.errors import ConselfError
from conself_local.method.curriculum import ProblemScore, select_learnable
from conself_local.round.views import (
    ENTROPY_NORMALISATIONS,
    ProblemRow,
    Selection,
    latest_programs,
    pair_rows,
    problem_rows,
    problem_view,
    tokens_since,
)
from conself_local.serving.try_program import try_program
from conself_local.store.store import Store

REAL_ROUND = Path(__file__).parents[2] / "tui" / "real_round.db"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """Yield a copy of the store that a real round made."""
    shutil.copy(REAL_ROUND, tmp_path / "conself.db")
    with Store(tmp_path / "conself.db") as store:
        yield store


def test_every_threshold_counts_the_problems_that_the_method_selects() -> None:
    draw = random.Random(1)
    scores = {
        f"p{i}": ProblemScore(
            draw.choice([0.0, 0.5, 0.9]), draw.choice([None, 0.0, 0.5, 1.0, draw.uniform(0, 3)]), draw.randint(2, 15)
        )
        for i in range(200)
    }
    rows = [
        ProblemRow(id, "too hard", s.entropy_bits, None, 1, s.crash_rate, 15, i % 4, s)
        for i, (id, s) in enumerate(scores.items())
    ]
    selection = Selection([*rows, ProblemRow("new", "pending", None, None, 0, 0.0, 0, 0, None)], 0.8)
    pairs = {row.id: row.pairs for row in rows}
    for normalisation in ENTROPY_NORMALISATIONS:
        for entropy_threshold in (0.0, 0.1, 0.3, 0.5, 1.0):
            chosen = select_learnable(
                scores, entropy_normalisation=normalisation, entropy_threshold=entropy_threshold, max_crash_rate=0.8
            )
            assert selection.count(normalisation, entropy_threshold) == (len(chosen), sum(pairs[id] for id in chosen))
    assert Selection([], 0.8).count("log2", 0.5) == (0, 0)


def test_problems_and_pairs_are_those_of_the_round(store: Store) -> None:
    rows = problem_rows(store, 1)
    assert [row.id for row in rows] == [p.id for p in store.round_problems(1)]
    selected = {r["problem_id"] for r in store.rows("select problem_id from metrics where selected")}
    assert {row.id for row in rows if row.kind == "learnable"} == selected
    built = pair_rows(store, 1)
    assert len(built) == sum(row.pairs for row in rows if row.kind == "learnable") > 0
    assert all(row["chosen"] != row["rejected"] and row["why"].startswith("the chosen has") for row in built)
    for row in rows:
        view = problem_view(store, 1, row.id)
        assert sum(p.samples for p in view.programs) == row.samples - store.value(
            "select without_program from metrics where problem_id = ?", row.id
        )
        assert len({p.cluster for p in view.programs} - {None}) == row.clusters and view.kind == row.kind
        assert all(len(p.outputs) == len(view.inputs) for p in view.programs) and len(view.observations) == 3


def test_tokens_are_counted_from_a_sample_on(store: Store) -> None:
    nothing, last = tokens_since(store, 1, None)
    total = store.value("select sum(json_array_length(token_ids)) from samples")
    assert nothing == 0 and tokens_since(store, 1, 0) == (total, last) and tokens_since(store, 1, last) == (0, last)
    assert len(latest_programs(store, 1, 5)) == 5


def test_an_adapter_that_a_later_round_began_with_cannot_be_deleted(store: Store) -> None:
    with pytest.raises(ConselfError, match="there is no adapter 9"):
        store.delete_adapter(9)
    store.db.execute("update rounds set base_adapter_id = 1")
    with pytest.raises(ConselfError, match="later round began with"):
        store.delete_adapter(1)


def test_one_program_runs_on_one_typed_input() -> None:
    code = "def double(n):\n    return n * 2\n"
    assert try_program(code, "double(21)") == "42" and try_program("print(int(input()) + 1)", "41").strip() == "42"
    assert "error" in try_program(code, "triple(1)")
    with pytest.raises(ValueError, match="must be literals"):
        try_program(code, "double(open('x'))")
