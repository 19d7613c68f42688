"""Draw the number of problems per range of entropy, as bars of text."""

from __future__ import annotations

from typing import Any

from rich.text import Text
from textual.widgets import Static


class Histogram(Static):
    """A histogram with one line per bin."""

    DEFAULT_CSS = "Histogram { height: auto; text-wrap: nowrap; }"

    def show(self, bins: list[dict[str, Any]], title: str) -> None:
        """Draw the bins that `store/reports.entropy_histogram` returns; the longest bar fills the width."""
        most = max([b["count"] for b in bins] + [1])
        room = max(6, self.size.width - 18)
        lines = [f"{b['label']:>10} {b['count']:>5} {'█' * round(room * b['count'] / most)}" for b in bins]
        self.update(Text("\n".join([title, *lines]), no_wrap=True))
