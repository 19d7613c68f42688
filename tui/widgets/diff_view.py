"""Show two programs side by side; lines that differ are marked by a sign as well as by a colour."""

from __future__ import annotations

import difflib

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Horizontal, VerticalScroll

from conself_local.foreign_text import shown
from tui.widgets.plain import Plain


class DiffView(VerticalScroll):
    """Two columns of source text that scroll together."""

    DEFAULT_CSS = """
    DiffView { height: 1fr; }
    DiffView Horizontal { height: auto; }
    DiffView Plain { width: 1fr; padding: 0 1; }
    """

    def compose(self) -> ComposeResult:
        with Horizontal():
            yield Plain("", id="left")
            yield Plain("", id="right")

    def show(self, left: str, right: str, titles: tuple[str, str]) -> None:
        """Align equal lines; mark lines that are only on the left with `-`, only on the right with `+`."""
        columns = (Text(f"{titles[0]}\n", "bold"), Text(f"{titles[1]}\n", "bold"))
        a, b = shown(left).splitlines(), shown(right).splitlines()
        for tag, a0, a1, b0, b1 in difflib.SequenceMatcher(None, a, b, autojunk=False).get_opcodes():
            for i in range(max(a1 - a0, b1 - b0)):
                _append(columns[0], a, a0 + i, a1, "-", "red", tag)
                _append(columns[1], b, b0 + i, b1, "+", "green", tag)
        self.query_one("#left", Plain).update(columns[0])
        self.query_one("#right", Plain).update(columns[1])


def _append(column: Text, lines: list[str], at: int, end: int, sign: str, colour: str, tag: str) -> None:
    if at >= end:
        column.append("\n")
    elif tag == "equal":
        column.append(f"  {lines[at]}\n")
    else:
        column.append(f"{sign} {lines[at]}\n", colour)
