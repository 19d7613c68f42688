"""Show Python source, highlighted, in a box that scrolls."""

from __future__ import annotations

from rich.syntax import Syntax
from textual.app import ComposeResult
from textual.containers import VerticalScroll

from conself_local.foreign_text import shown
from tui.widgets.plain import Plain, title


class SourceView(VerticalScroll):
    """A box with a title for one program or one text."""

    DEFAULT_CSS = """
    SourceView { border: round $panel; height: 1fr; }
    SourceView > Plain { width: 1fr; }
    """

    def compose(self) -> ComposeResult:
        yield Plain()

    def set_title(self, text: str) -> None:
        """Show another title in the border."""
        self.border_title = title(text)

    def show(self, code: str, *, python: bool = True) -> None:
        """Show `code` without running it; it is not highlighted if `python` is False."""
        highlighted = Syntax(shown(code), "python", theme="ansi_dark", background_color="default", word_wrap=True)
        self.query_one(Plain).update(highlighted if python else code)
