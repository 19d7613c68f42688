"""Notices are stored once however often a round is continued; what happens twice is stored twice."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlite_utils import Database

from conself_local.errors import ConselfError
from conself_local.events import START, Notice, NoticeKind
from conself_local.store.events import load_events, store_notice
from conself_local.store.migrations import migrations
from conself_local.store.pruning import empty_rounds
from conself_local.store.store import Store
from tests.fakes.synthetic_round import make_problems, start_round


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """Yield a store with one round."""
    with Store(tmp_path / "conself.db") as store:
        start_round(store, make_problems(1))
        yield store


def _texts(store: Store) -> list[str]:
    return [event["text"] for event in load_events(store, 1)]


def test_a_state_that_is_reported_at_every_start_is_stored_once_with_its_latest_text(store: Store) -> None:
    """A round that was continued ten times would otherwise have ten notices about its battery."""
    for text in ("on battery (80 % left)", "on battery (80 % left)", "on battery (40 % left)"):
        store_notice(store, 1, "sample", Notice(text, NoticeKind.BATTERY))
    store_notice(store, 1, "evaluate", Notice("on battery (30 % left)", NoticeKind.BATTERY))
    assert _texts(store) == ["on battery (40 % left)", "on battery (30 % left)"]


def test_each_restart_of_an_engine_is_an_event_of_its_own(store: Store) -> None:
    for _ in range(2):
        store_notice(store, 1, "sample", Notice("the engine died", NoticeKind.ENGINE_RESTARTED))
    assert _texts(store) == ["the engine died"] * 2


def test_servers_are_told_apart_by_the_text(store: Store) -> None:
    for text in ("a is left out", "b is left out", "a is left out"):
        store_notice(store, 1, "sample", Notice(text, NoticeKind.SERVER_LEFT_OUT))
    assert _texts(store) == ["a is left out", "b is left out"]


def test_an_event_has_time_severity_and_a_stable_kind(store: Store) -> None:
    store_notice(store, 1, START, Notice("b", NoticeKind.SANDBOX_WEAKER))
    (event,) = load_events(store, 1)
    assert (event["stage"], event["kind"], event["severity"]) == ("start", "sandbox-weaker", "warning")
    assert event["at_utc"].endswith("+00:00")
    labels = [kind.label for kind in NoticeKind]
    assert len(set(labels)) == len(labels) and all(kind.severity in ("notice", "warning") for kind in NoticeKind)


def test_foreign_text_is_stored_as_it_may_be_shown_and_no_longer_than_needed(store: Store) -> None:
    store_notice(store, 1, "sample", Notice("\x1b]52;c;aGk=\x07\ud800" + "x" * 9000, NoticeKind.SERVER_LEFT_OUT))
    (text,) = _texts(store)
    assert text.startswith("\\x1b]52;c;aGk=\\x07\\ud800x") and len(text) == 2000


def test_only_the_latest_are_read_if_a_screen_asks_for_few(store: Store) -> None:
    for number in range(9):
        store_notice(store, 1, "sample", Notice(f"{number}", NoticeKind.HEAT))
    assert [event["text"] for event in load_events(store, 1, 3)] == ["6", "7", "8"]
    with pytest.raises(ConselfError, match="there is no round 2"):
        load_events(store, 2)


def test_a_store_of_the_version_before_gets_the_table(tmp_path: Path) -> None:
    db = Database(tmp_path / "old.db")
    migrations.apply(db, stop_before="0007_events")
    assert "events" not in db.table_names()
    db.close()
    with Store(tmp_path / "old.db") as store:
        start_round(store, make_problems(1))
        assert load_events(store, 1) == []


def test_a_round_that_is_emptied_loses_its_events(store: Store) -> None:
    store_notice(store, 1, "sample", Notice("gone", NoticeKind.HEAT))
    store.db.execute("update rounds set state = 'abandoned'")
    empty_rounds(store, [1])
    assert load_events(store, 1) == []
