"""Draw the number of problems per range of disagreement, as bars of text."""

from __future__ import annotations

from typing import Any

from textual.content import Content
from textual.widget import Widget

from tui.design import ACTIVE, MUTED

_NAMES = {"0": "all agree", "none valid": "none ran"}
_BLOCKS = "_▁▂▃▄▅▆▇█"


class Histogram(Widget):
    """A histogram with one line per bin; its bars follow the width that the widget has when it is drawn."""

    DEFAULT_CSS = "Histogram { height: auto; text-wrap: nowrap; }"

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._bins: list[dict[str, Any]] = []

    def show(self, bins: list[dict[str, Any]]) -> None:
        """Draw the bins that `store/reports.entropy_histogram` returns; the longest bar fills the width."""
        if bins != self._bins:
            is_as_high = len(bins) == len(self._bins)
            self._bins = bins
            self.refresh(layout=not is_as_high)

    def render(self) -> Content:
        """Return one line per bin, none longer than the widget is wide."""
        most = max([b["count"] for b in self._bins] + [1])
        room = max(4, self.content_size.width - 18)
        return Content("\n").join(
            Content.assemble(
                (f"{_NAMES.get(b['label'], b['label'] + ' bits'):>12}", MUTED if not b["count"] else ""),
                f"{b['count']:>4,} ",
                ("█" * round(room * b["count"] / most), ACTIVE),
            )
            for b in self._bins
        )


def small_histogram(bins: list[dict[str, Any]]) -> str:
    """Return the bins as one character each, for a title."""
    most = max([b["count"] for b in bins] + [1])
    return "".join(_BLOCKS[-(-8 * b["count"] // most)] for b in bins)
