"""List what a round noticed and a person should know: left-out problems, gaps, warnings of training.

Not covered: events for developers, which go to the logs.
"""

from __future__ import annotations

from dataclasses import dataclass

from conself_local.store.store import Store

_TOLD = {"problems left out": "before", "running copy": "sample", "pruned": "after", "engine": "sample"}
"""Names in the table `stages` under which a round keeps what it noticed -> the stage that noticed it."""


@dataclass(frozen=True)
class NoticeRow:
    """One notice of a round."""

    round_id: int
    stage: str
    """The stage that noticed it."""
    text: str
    is_warning: bool
    """Whether a person should look, or only know."""
    at_utc: str
    """When it was noticed, ISO 8601; empty if that was not kept."""


def round_notices(store: Store, round_id: int) -> list[NoticeRow]:
    """Return what this round noticed, the oldest first."""
    rows = store.rows("select stage, summary from stages where round_id = ? order by rowid", round_id)
    return [
        NoticeRow(round_id, _TOLD[row["stage"]], row["summary"], row["stage"] == "problems left out", "")
        for row in rows
        if row["stage"] in _TOLD
    ]


def all_notices(store: Store) -> list[NoticeRow]:
    """Return what all rounds of this home noticed, the latest round first."""
    rounds = store.rows("select id from rounds order by id desc")
    return [notice for row in rounds for notice in round_notices(store, row["id"])]
