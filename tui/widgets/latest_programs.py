"""Show the latest programs of a round, newest first, without moving the one that someone reads."""

from __future__ import annotations

from typing import Any

from tui.design import BAD, DONE, FAILED, GOOD, LOOK, MUTED, NOT_BEGUN, WARN
from tui.widgets.big_table import BigTable, Cells, Column

_COLUMNS = (
    Column("  result", 13),
    Column("tokens", 6, right=True),
    Column("ended", 10, from_width=44),
    Column("problem", 10, grows=True),
)
_ENDED = {"fence": "at fence", "stop": "by itself", "length": "cut off", "repetition": "repeated"}


class LatestPrograms(BigTable):
    """The table follows the round while the cursor is on its first row; below it, rows stay, and new ones count."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(_COLUMNS, _cells, id=id)
        self._latest: list[dict[str, Any]] = []
        self._sampled = 0
        self._shown_of: int | None = None

    @property
    def new(self) -> int:
        """How many programs came since the rows that are shown."""
        return self._sampled - (self._shown_of or 0)

    def offer(self, rows: list[dict[str, Any]], sampled: int) -> None:
        """Show the rows of `latest_programs`, of `sampled` in all, unless the cursor holds older ones."""
        self._latest, self._sampled = rows, sampled
        if self.cursor == 0 or self._shown_of is None or sampled < self._shown_of:
            self._follow()

    def watch_cursor(self) -> None:
        super().watch_cursor()
        if self.cursor == 0 and self._shown_of != self._sampled:
            self._follow()

    def _follow(self) -> None:
        self._shown_of = self._sampled
        if self.rows != self._latest:
            self.set_rows(self._latest)


def _cells(row: dict[str, Any]) -> Cells:
    return [_result(row), str(row["tokens"]), (_ENDED.get(row["finish"], row["finish"]), MUTED), row["problem_id"]]


def _result(row: dict[str, Any]) -> tuple[str, str]:
    """Return how a program ran, with a sign, and its style."""
    if not row["code"]:
        return f"{FAILED} no program", BAD
    if row["ran"] == "waiting":
        return f"{NOT_BEGUN} waiting", MUTED
    if not row["ran"].startswith("ok "):
        return f"{FAILED} {row['ran']}", BAD
    ok, _, inputs = row["ran"].removeprefix("ok ").partition("/")
    sign, style = (DONE, GOOD) if ok == inputs else (LOOK, WARN)
    return f"{sign} {ok} of {inputs}", style
