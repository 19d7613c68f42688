"""Show Python source, highlighted in the colours of the theme, in a box that scrolls."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.highlight import highlight

from conself_local.foreign_text import shown
from tui.widgets.plain import Plain


class SourceView(VerticalScroll):
    """A box for one program or one text."""

    DEFAULT_CSS = """
    SourceView { height: 1fr; }
    SourceView > Plain { width: 1fr; }
    """

    def compose(self) -> ComposeResult:
        yield Plain()

    def show(self, code: str, *, python: bool = True) -> None:
        """Show `code` without running it; it is not highlighted if `python` is False."""
        self.query_one(Plain).update(highlight(shown(code), language="python") if python else code)
