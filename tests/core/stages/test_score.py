"""Scores and pairs are made problem by problem, and are those that were made from all problems at once."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from conself_local.method import behaviour
from conself_local.round.verify import verify_store
from conself_local.stages.score import build_round_pairs, load_evidence, score_problems
from conself_local.store.store import Row, Store
from tests.fakes.home_of_rounds import REAL_ROUND

_TABLES = {
    "metrics": "select * from metrics order by rowid",
    "sample_scores": "select * from sample_scores order by rowid",
    "pairs": "select * from pairs order by rowid",
    "stages": "select * from stages where stage in ('score', 'pair') order by stage",
}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """Yield a copy of the store of a real round, whose scores and pairs an earlier version made."""
    shutil.copy(REAL_ROUND, tmp_path / "conself.db")
    with Store(tmp_path / "conself.db") as store:
        yield store


def _rows(store: Store) -> dict[str, list[Row]]:
    return {name: store.rows(sql) for name, sql in _TABLES.items()}


def test_all_rows_are_those_of_the_version_that_held_all_problems_at_once(store: Store) -> None:
    before = _rows(store)
    assert all(before.values()), "the round has scores and pairs"
    for stage in (score_problems, build_round_pairs):
        stage(store, store.round(1), lambda event: None)
    assert _rows(store) == before
    derived = ("metrics", "sample_scores", "pairs")
    assert [difference for difference in verify_store(store) if difference.startswith(derived)] == []


def test_equal_behaviours_and_texts_are_parsed_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parsing the outputs is most of the time of both stages."""
    from conself_local.stages import score

    parsed: list[str] = []

    def counted(text: str) -> str:
        parsed.append(text)
        return behaviour.comparison_key(text)

    monkeypatch.setattr(score, "comparison_key", counted)
    for problem in store.round_problems(1):
        parsed.clear()
        evidence = load_evidence(store, store.round(1), problem)
        assert parsed and len(parsed) == len(set(parsed)), problem.id
        assert len(evidence.behaviours) == len(evidence.rows)
