"""Keep what came of the rounds that the schedule starts at night, for the morning.

Not covered: running them (`round/night.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from conself_local.foreign_files import PARSER_ERRORS
from conself_local.store.store import Store, now_utc

BEGUN = "begun"


@dataclass(frozen=True)
class Night:
    """One night: `ended_at_utc` is None while it runs, or if the computer was switched off."""

    id: int
    started_at_utc: str
    ended_at_utc: str | None
    round_id: int | None
    summary: str

    def sentence(self, *, is_running: bool) -> str:
        """Return what came of the night in one line, with its local time."""
        when = _local(self.started_at_utc)
        if self.ended_at_utc is None:
            state = (
                "is running now"
                if is_running
                else "was cut off; what it stored is kept, and the next night continues it"
            )
            return f"the night of {when} {state}"
        return f"the night of {when}: {self.summary}"


def begin_night(store: Store) -> int:
    """Store that a night begins, and return its id."""
    with store.transaction():
        night_id = int(store.value("select coalesce(max(id), 0) + 1 from nights"))
        store.db.table("nights").insert({"id": night_id, "started_at_utc": now_utc(), "summary": BEGUN})
    return night_id


def end_night(store: Store, night_id: int, round_id: int | None, summary: str) -> None:
    """Store what came of a night."""
    values = {"ended_at_utc": now_utc(), "round_id": round_id, "summary": summary}
    store.db.table("nights").update(night_id, values)


def last_night(store: Store) -> Night | None:
    """Return the latest night, or None if there was none."""
    rows = store.rows("select id, started_at_utc, ended_at_utc, round_id, summary from nights order by id desc limit 1")
    return Night(**rows[0]) if rows else None


def _local(utc: str) -> str:
    """Return a stored time as the user's clock shows it; a damaged one as it is."""
    try:
        return datetime.fromisoformat(utc).astimezone().strftime("%Y-%m-%d %H:%M")
    except PARSER_ERRORS:
        return utc
