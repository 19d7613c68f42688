"""Keep the notices and warnings of each round, so that they can be read later and on any screen.

A notice that comes again after a restart is stored as its kind says (`events.Repeats`). Texts are stored as they may be
shown, because they can quote servers, files and engines. Not covered: when notices arise, and how they are shown.
"""

from __future__ import annotations

from conself_local.events import Notice
from conself_local.foreign_text import shown
from conself_local.store.store import Row, Store, now_utc

_MAX_CHARACTERS = 2000
_OF_KIND = "select id, text from events where round_id = ? and stage = ? and kind = ?"


def store_notice(store: Store, round_id: int, stage: str, notice: Notice) -> None:
    """Store a notice of a stage, unless it only repeats what is stored."""
    kind, text = notice.kind, shown(notice.text, lines=False)[:_MAX_CHARACTERS]
    known = store.rows(_OF_KIND, round_id, stage, kind.label) if kind.repeats != "each" else []
    if any(row["text"] == text for row in known):
        return
    row = {
        "round_id": round_id,
        "stage": stage,
        "kind": kind.label,
        "severity": kind.severity,
        "text": text,
        "at_utc": now_utc(),
    }
    with store.transaction():
        if kind.repeats == "latest":
            store.db.execute("delete from events where round_id = ? and stage = ? and kind = ?", [
                round_id, stage, kind.label,
            ])  # fmt: skip
        store.db.table("events").insert(row)


def load_events(store: Store, round_id: int, most: int | None = None) -> list[Row]:
    """Return the events of a round, oldest first: stage, kind, severity, text, at_utc; only the latest `most` if given.

    Raises ConselfError if there is no such round.
    """
    store.round(round_id)
    sql = """select stage, kind, severity, text, at_utc from events where round_id = ? order by id desc limit ?"""
    return store.rows(sql, round_id, -1 if most is None else most)[::-1]


def load_all_events(store: Store, most: int) -> list[Row]:
    """Return the latest `most` events of all rounds, those of the latest round first, each round's oldest first.

    Each row has the fields of `load_events` and `round_id`.
    """
    sql = """select round_id, stage, kind, severity, text, at_utc from
             (select * from events order by id desc limit ?) order by round_id desc, id"""
    return store.rows(sql, most)
