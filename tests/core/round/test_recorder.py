"""The notices of a running round reach the store from any thread, under the stage that runs."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from conself_local.events import Event, ItemStored, Notice, NoticeKind, StageStarted
from conself_local.round.recorder import NoticeRecorder
from conself_local.store.events import load_events
from conself_local.store.store import Store
from tests.fakes.synthetic_round import make_problems, start_round


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """Yield a store with one round."""
    with Store(tmp_path / "conself.db") as store:
        start_round(store, make_problems(1))
        yield store


def test_a_notice_belongs_to_the_stage_that_runs_or_to_the_one_it_names(store: Store) -> None:
    passed: list[Event] = []
    with NoticeRecorder(store, 1, passed.append) as recorder:
        recorder.on_event(Notice("a", NoticeKind.ENGINE))
        recorder.on_event(StageStarted("evaluate held-out: run", 0, 3))
        recorder.on_event(Notice("b", NoticeKind.ENGINE_RESTARTED))
        recorder.on_event(Notice("c", NoticeKind.BATTERY, "sample"))
    assert [(e["stage"], e["text"]) for e in load_events(store, 1)] == [
        ("start", "a"),
        ("evaluate", "b"),
        ("sample", "c"),
    ]
    assert len(passed) == 4


def test_a_repeated_notice_is_shown_once_and_a_second_restart_twice(store: Store) -> None:
    """Each sandbox that is opened reports again that it is weaker."""
    passed: list[Event] = []
    with NoticeRecorder(store, 1, passed.append) as recorder:
        for kind in (NoticeKind.SANDBOX_WEAKER, NoticeKind.SANDBOX_RESTARTED):
            recorder.on_event(Notice("same", kind))
            recorder.on_event(Notice("same", kind))
    assert [event.kind for event in passed if isinstance(event, Notice)] == [
        NoticeKind.SANDBOX_WEAKER,
        NoticeKind.SANDBOX_RESTARTED,
        NoticeKind.SANDBOX_RESTARTED,
    ]


def test_a_notice_of_another_thread_is_stored_outside_of_a_transaction_of_the_own_one(store: Store) -> None:
    """Written by the other thread, it would be lost with the transaction that it came into."""
    with NoticeRecorder(store, 1, lambda event: None) as recorder:
        with pytest.raises(ZeroDivisionError), store.transaction():
            store.ensure_prompt("lost", [1])
            notice = Notice("from a worker", NoticeKind.SANDBOX_RESTARTED)
            other = threading.Thread(target=recorder.on_event, args=(notice,))
            other.start()
            other.join()
            _ = 1 / 0
        assert load_events(store, 1) == [] and store.value("select count(*) from prompts") == 0
        recorder.on_event(ItemStored("execute", 1, 2))
        assert [event["text"] for event in load_events(store, 1)] == ["from a worker"]


def test_a_notice_that_came_last_is_stored_even_if_the_round_fails(store: Store) -> None:
    def run() -> None:
        with NoticeRecorder(store, 1, lambda event: None) as recorder:
            other = threading.Thread(target=recorder.on_event, args=(Notice("last", NoticeKind.SERVER_LEFT_OUT),))
            other.start()
            other.join()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run()
    assert [event["text"] for event in load_events(store, 1)] == ["last"]
