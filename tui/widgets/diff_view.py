"""Show two programs side by side; lines that differ are marked by a sign as well as by a colour."""

from __future__ import annotations

import difflib

from textual.app import ComposeResult
from textual.containers import Horizontal, VerticalScroll
from textual.content import Content

from conself_local.foreign_text import shown
from tui.design import ADAPTER, BASE
from tui.widgets.plain import Plain


class DiffView(VerticalScroll):
    """Two columns of source text that scroll together; the left is the base, or the preferred program."""

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
        columns: tuple[list[Content], list[Content]] = (
            [Content.styled(shown(titles[0]), "bold")],
            [Content.styled(shown(titles[1]), "bold")],
        )
        a, b = shown(left).splitlines(), shown(right).splitlines()
        for tag, a0, a1, b0, b1 in difflib.SequenceMatcher(None, a, b, autojunk=False).get_opcodes():
            for i in range(max(a1 - a0, b1 - b0)):
                columns[0].append(_line(a, a0 + i, a1, "-", BASE, tag))
                columns[1].append(_line(b, b0 + i, b1, "+", ADAPTER, tag))
        self.query_one("#left", Plain).update(Content("\n").join(columns[0]))
        self.query_one("#right", Plain).update(Content("\n").join(columns[1]))

    def clear(self, why: str = "") -> None:
        """Show nothing but a reason."""
        self.query_one("#left", Plain).update(why)
        self.query_one("#right", Plain).update("")


def _line(lines: list[str], at: int, end: int, sign: str, style: str, tag: str) -> Content:
    if at >= end:
        return Content("")
    return Content(f"  {lines[at]}") if tag == "equal" else Content.styled(f"{sign} {lines[at]}", style)
