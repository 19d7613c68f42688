"""Show the progress of one stage of a round: name, bar, done of total, rate and time left."""

from __future__ import annotations

import time
from collections import deque

from rich.text import Text
from textual.widget import Widget

_WINDOW_S = 30.0


class StageProgress(Widget):
    """One line for one stage; the screen calls `update_counts` as the stage proceeds."""

    DEFAULT_CSS = "StageProgress { height: 1; }"

    def __init__(self, stage: str) -> None:
        super().__init__(id=f"progress-{stage}")
        self._stage = stage
        self.done = self.total = 0
        self._seen: deque[tuple[float, int]] = deque(maxlen=64)

    def update_counts(self, done: int, total: int) -> None:
        """Show `done` of `total` items; a total of 0 means that the stage has not begun."""
        now = time.monotonic()
        if done < self.done:
            self._seen.clear()
        self._seen.append((now, done))
        while len(self._seen) > 2 and now - self._seen[0][0] > _WINDOW_S:
            self._seen.popleft()
        self.done, self.total = done, total
        self.set_class(0 < total == done, "-done")
        self.set_class(0 < done < total, "-running")
        self.refresh()

    @property
    def rate(self) -> float:
        """Items per second over the last half minute; 0.0 before the second update."""
        (t0, d0), (t1, d1) = (self._seen[0], self._seen[-1]) if self._seen else ((0.0, 0), (0.0, 0))
        return (d1 - d0) / (t1 - t0) if t1 > t0 else 0.0

    def render(self) -> Text:
        sign = "✓" if self.has_class("-done") else "▶" if self.has_class("-running") else "·"
        room = max(8, self.size.width - 54)
        filled = round(room * self.done / self.total) if self.total else 0
        text = Text(f"{sign} {self._stage:<9} ", no_wrap=True)
        text.append("━" * filled + "─" * (room - filled))
        text.append(f" {self.done:>7} / {self.total:<7}" if self.total else f" {'':>7}   {'':<7}")
        if self.has_class("-running") and self.rate > 0:
            text.append(f" {self.rate:>6.1f}/s {_left((self.total - self.done) / self.rate)}")
        return text


def _left(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s left"
    return f"{seconds / 60:.0f} min left" if seconds < 5400 else f"{seconds / 3600:.1f} h left"
