"""Draw the number of problems per range of entropy, as bars of text."""

from __future__ import annotations

from typing import Any

from rich.text import Text
from textual.widget import Widget


class Histogram(Widget):
    """A histogram with one line per bin; its bars follow the width that the widget has when it is drawn."""

    DEFAULT_CSS = "Histogram { height: auto; text-wrap: nowrap; }"

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._bins: list[dict[str, Any]] = []
        self._title = ""

    def show(self, bins: list[dict[str, Any]], title: str) -> None:
        """Draw the bins that `store/reports.entropy_histogram` returns; the longest bar fills the width."""
        self._bins, self._title = bins, title
        self.refresh(layout=True)

    def render(self) -> Text:
        """Return the title and one line per bin, none longer than the widget is wide."""
        most = max([b["count"] for b in self._bins] + [1])
        room = max(6, self.content_size.width - 18)
        lines = [f"{b['label']:>10} {b['count']:>5} {'█' * round(room * b['count'] / most)}" for b in self._bins]
        return Text("\n".join([self._title, *lines]), no_wrap=True)
