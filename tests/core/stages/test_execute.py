"""Programs are looked for once, page by page, beside sampling and after it; none is lost and none runs twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from conself_local.events import Event, StageDone, StageStarted, ignore_events
from conself_local.stages import execute
from conself_local.stages.execute import OverlappedExecution, execute_programs, limits_key, limits_of
from conself_local.stages.sample import sample_observations, sample_programs
from conself_local.store.store import RoundInfo, Store
from sandbox import Limits
from tests.fakes.synthetic_round import ScriptedSampler, SyntheticSandbox, make_problems, start_round

PROBLEMS = 30


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """Yield a store with a round whose programs are still to be sampled."""
    with Store(tmp_path / "conself.db") as store:
        sample_observations(store, start_round(store, make_problems(PROBLEMS)), ScriptedSampler(), None, ignore_events)
        yield store


class Sandboxes:
    """Makes sandboxes and remembers them."""

    def __init__(self) -> None:
        self.made: list[SyntheticSandbox] = []

    def __call__(self, limits: Limits) -> SyntheticSandbox:
        self.made.append(SyntheticSandbox(limits))
        return self.made[-1]

    @property
    def ran(self) -> list[str]:
        return [id for sandbox in self.made for id in sandbox.ran]


def _sample(store: Store, round_: RoundInfo, sandboxes: Sandboxes | None = None) -> None:
    if sandboxes is None:
        sample_programs(store, round_, ScriptedSampler(), None, ignore_events, lambda: None)
        return
    with OverlappedExecution(store, round_, sandboxes, lambda shared: None) as beside:  # type: ignore[arg-type]
        sample_programs(store, round_, ScriptedSampler(), None, ignore_events, beside.poll)


def _all_programs(store: Store) -> set[str]:
    return {
        row["program_id"] for row in store.rows("select distinct program_id from samples where program_id is not null")
    }


def test_every_program_runs_once_beside_sampling_or_after_it(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execute, "_PAGE", 16)
    monkeypatch.setattr(OverlappedExecution, "BATCH", 20)
    sandboxes, events = Sandboxes(), list[Event]()
    _sample(store, store.round(1), sandboxes)
    beside = len(sandboxes.ran)
    execute_programs(store, store.round(1), sandboxes, events.append)  # type: ignore[arg-type]
    assert 0 < beside < len(sandboxes.ran) and Counter(sandboxes.ran) == Counter(_all_programs(store))
    total = len(_all_programs(store))
    assert events[0] == StageStarted("execute", beside, total) and isinstance(events[-1], StageDone)
    assert events[-1].summary.startswith(f"{total} programs run")


def test_a_poll_looks_only_at_samples_that_are_newer_than_the_last_one(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each poll once went through the whole round: half an hour of processor time for 375,000 programs."""
    monkeypatch.setattr(OverlappedExecution, "BATCH", 20)
    asked: list[int] = []
    page = Store.pending_page

    def recorded(self: Store, round_id: int, limits: str, after: int, most: int) -> object:
        asked.append(after)
        return page(self, round_id, limits, after, most)

    monkeypatch.setattr(Store, "pending_page", recorded)
    _sample(store, store.round(1), Sandboxes())
    assert asked[0] == 0 and len(asked) > 2 and sorted(set(asked)) == asked, "each begins where the one before ended"


def test_what_an_interrupted_round_left_is_found_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs that were sampled before the interruption are older than all that the new process samples."""
    monkeypatch.setattr(OverlappedExecution, "BATCH", 20)
    monkeypatch.setattr(OverlappedExecution, "MOST", 50)
    _sample(store, store.round(1))
    left = _all_programs(store)
    store.db.execute("delete from samples where rowid > (select max(rowid) from samples) - 200")
    old, sandboxes = _all_programs(store), Sandboxes()
    _sample(store, store.round(1), sandboxes)
    assert _all_programs(store) == left, "the same seeds give the same programs"
    assert len(sandboxes.ran) == len(set(sandboxes.ran)) and len(old & set(sandboxes.ran)) >= 50


def test_programs_of_an_earlier_round_run_no_more(store: Store) -> None:
    first, second = Sandboxes(), Sandboxes()
    _sample(store, store.round(1))
    execute_programs(store, store.round(1), first, ignore_events)  # type: ignore[arg-type]
    again = start_round(store, make_problems(PROBLEMS))
    sample_observations(store, again, ScriptedSampler(), None, ignore_events)
    _sample(store, again)
    execute_programs(store, again, second, ignore_events)  # type: ignore[arg-type]
    assert first.ran and second.made == [], "no sandbox is started for nothing"


def test_a_page_is_found_through_the_index_however_many_samples_there_are(store: Store) -> None:
    _sample(store, store.round(1))
    key = limits_key(limits_of(store.round(1).settings))
    rows, after = store.pending_page(1, key, 0, 10**6)
    assert [row["row"] for row in rows] == sorted(row["row"] for row in rows)
    assert after == store.value("select max(rowid) from samples") and store.pending_page(1, key, after, 10) == (
        [],
        after,
    )
    parts, after = list[str](), 0
    while page := store.pending_page(1, key, after, 7):
        parts += [row["id"] for row in page[0]]
        after = page[1]
        if len(page[0]) < 7:
            break
    assert parts == [row["id"] for row in rows]


def test_looking_for_programs_grows_with_their_number_only(tmp_path: Path) -> None:
    """A wrong index in the query made the time grow with the square of the round."""

    def steps(problems: int) -> int:
        with Store(tmp_path / f"{problems}.db") as store:
            round_ = start_round(store, make_problems(problems))
            sample_observations(store, round_, ScriptedSampler(), None, ignore_events)
            _sample(store, round_)
            done = [0]
            store.db.conn.set_progress_handler(lambda: done.__setitem__(0, done[0] + 1), 10)
            store.pending_page(round_.id, limits_key(limits_of(round_.settings)), 0, 10**6)
            return done[0]

    assert steps(40) < 5 * steps(10)
