"""Show Python source, highlighted, in a box that scrolls."""

from __future__ import annotations

from rich.syntax import Syntax
from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.widgets import Static


class SourceView(VerticalScroll):
    """A box with a title for one program or one text."""

    DEFAULT_CSS = """
    SourceView { border: round $panel; height: 1fr; }
    SourceView > Static { width: 1fr; }
    """

    def compose(self) -> ComposeResult:
        yield Static("", markup=False)

    def show(self, code: str, title: str, *, python: bool = True) -> None:
        """Show `code` without running it; it is not highlighted if `python` is False."""
        self.border_title = title
        content = (
            Syntax(code, "python", theme="ansi_dark", background_color="default", word_wrap=True) if python else code
        )
        self.query_one(Static).update(content)
