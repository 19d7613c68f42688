"""What every screen shows of a home: its state, its steps, the outcome, and how long the rest takes."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from conself_local.home import Home
from conself_local.method.curriculum import ProblemScore
from conself_local.round.overview import expected_steps, overview, same_again, verdict_word
from conself_local.round.reasons import why_class
from conself_local.round.time_left import time_left
from conself_local.round.views import ProblemClass, ProblemRow, problem_row, problem_rows
from conself_local.settings import LAPTOP, PAPER, change_settings
from conself_local.store.store import Store
from tests.tui.states import rewind

REAL_ROUND = Path(__file__).parents[2] / "tui" / "real_round.db"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """Return a home with a copy of the store that a real round made."""
    shutil.copy(REAL_ROUND, tmp_path / "conself.db")
    return Home(tmp_path)


@pytest.fixture
def store(home: Home) -> Iterator[Store]:
    """Yield its store."""
    with Store(home.database) as store:
        yield store


def test_a_home_without_a_round(tmp_path: Path) -> None:
    with Store(tmp_path / "conself.db") as store:
        assert overview(store, Home(tmp_path)).state == "none"


def test_a_done_round_tells_its_outcome(store: Store, home: Home) -> None:
    seen = overview(store, home)
    assert seen.state == "done" and set(seen.steps.values()) == {"done"}
    assert seen.outcome == "adapter 1 kept, no measurable change on held-out problems"
    store.set_adapter_state(1, "rejected")
    assert overview(store, home).outcome.startswith("adapter 1 put aside")


@pytest.mark.parametrize(
    ("stage", "steps"),
    [
        ("sampling", ("problems",)),
        ("training", ("training",)),
        ("judging", ("evaluation",)),
    ],
)
def test_a_step_is_as_the_round_is(stage: str, steps: tuple[str, ...], store: Store, home: Home) -> None:
    rewind(store, stage)
    seen = overview(store, home)
    assert seen.state == "stopped" and [s for s, how in seen.steps.items() if how == "look"] == ["round", *steps]
    with home.lock():
        assert {overview(store, home).steps[step] for step in ("round", *steps)} == {"running"}
    home.logs.mkdir(exist_ok=True)
    (home.logs / "round-1.log").write_text("conself: no room\n")
    assert overview(store, home).state == "failed"


def test_a_round_without_pairs_leaves_training_out(store: Store, home: Home) -> None:
    store.db.execute("delete from adapters")
    store.db.execute("delete from training_steps")
    seen = overview(store, home)
    assert seen.steps["training"] == seen.steps["evaluation"] == "left out"
    assert seen.outcome == "no adapter was trained"


def test_the_next_round_repeats_the_last_one_only_if_that_can_be_said(store: Store, tmp_path: Path) -> None:
    round_ = store.round(1)
    assert same_again(round_) is None, "its model file is gone"
    model = tmp_path / "m.gguf"
    model.touch()
    there = dataclasses.replace(round_, model_path=model, settings=LAPTOP)
    arguments = same_again(there)
    assert arguments and arguments[:4] == ["--preset", "laptop", "--model", str(model)] and "--seed" not in arguments
    changed = same_again(dataclasses.replace(there, settings=change_settings(LAPTOP, {"training.epochs": 9})))
    assert changed and changed[4:6] == ["--set", "training.epochs=9"] and "--with-mine" not in changed
    mine = same_again(dataclasses.replace(there, request=there.request | {"with_mine": True}))
    assert mine and "--with-mine" in mine


def test_steps_are_expected_from_the_pairs(store: Store) -> None:
    round_ = store.round(1)
    per_epoch = -(-3 // round_.settings.training.batch_size)
    assert expected_steps(store, round_) == per_epoch * round_.settings.training.epochs
    store.db.execute("delete from stages where stage = 'pair'")
    assert expected_steps(store, round_) == per_epoch * round_.settings.training.epochs, (
        "as many as earlier rounds gave"
    )
    store.db.execute("delete from pairs")
    assert expected_steps(store, round_) is None


def test_time_left_counts_what_was_measured_and_names_what_was_not() -> None:
    rows = [{"stage": "sample", "done": 50, "total": 100}, {"stage": "score", "done": 0, "total": 9}]
    half = time_left(rows, {"sample": 2.0})
    assert half.share == 0.5 and half.seconds == 100.0 and half.sure and not half.unknown
    unknown = time_left([*rows, {"stage": "train", "done": 0, "total": 50}], {"sample": 2.0, "train": None})
    assert unknown.seconds == 100.0 and unknown.unknown == ("train",) and unknown.share == pytest.approx(1 / 3)
    assert time_left(rows, {"sample": None}).seconds is None
    assert not time_left([{"stage": "sample", "done": 1, "total": 100}], {"sample": 2.0}).sure
    assert time_left([], {}).share == 0.0


def test_the_word_of_a_verdict() -> None:
    assert verdict_word({"verdict": "no measurable change (+6.7 points)"}) == "no measurable change"
    assert verdict_word({"word": "surer", "verdict": "surer: by consensus"}) == "surer"


def _row(kind: ProblemClass, crash_rate: float, bits: float | None, valid: int, pairs: int = 0) -> ProblemRow:
    score = None if kind == "pending" else ProblemScore(crash_rate, bits, valid)
    return ProblemRow("p", kind, bits, 0.5, 3, crash_rate, 15, pairs, score)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (_row("pending", 0, None, 0), "Not scored yet"),
        (_row("crashed", 1.0, None, 0), "no program ran"),
        (_row("crashed", 0.9, 1.0, 2), "90% of its programs failed on every input"),
        (_row("too easy", 0.0, 0.0, 15), "all 15 valid programs behave alike"),
        (_row("too hard", 0.0, 2.0, 15), "not below the cut of 0.30"),
        (_row("learnable", 0.0, 0.4, 15, 3), "It gives 3 pairs."),
        (_row("learnable", 0.0, 0.4, 15, 1), "It gives 1 pair."),
        (_row("learnable", 0.0, 0.4, 15, 0), "But it gives no pair"),
    ],
)
def test_why_a_problem_is_or_is_not_selected(row: ProblemRow, said: str) -> None:
    assert said in why_class(row, PAPER)


def test_without_a_cut_the_reason_says_so() -> None:
    reason = why_class(_row("learnable", 0.0, 2.0, 15, 0), LAPTOP)
    assert "there is no cut" in reason and "at least 40%" in reason


def test_one_problem_is_read_as_the_list_has_it(store: Store) -> None:
    for row in problem_rows(store, 1):
        assert problem_row(store, 1, row.id) == row
