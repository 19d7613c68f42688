"""Show how far a round is: one bar for the whole, and the stages with their counts, rates and times left."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from textual.content import Content
from textual.geometry import Size
from textual.widget import Widget

from conself_local.foreign_text import shown
from tui.design import ACTIVE, DONE, LEFT_OUT, LOOK, MUTED, NOT_BEGUN, PAUSED, RUNNING, STYLE_OF_SIGN, duration

STAGES = {
    "observe": "observe",
    "sample": "sample",
    "execute": "run",
    "grow": "add inputs",
    "score": "score",
    "pair": "pair",
    "train": "train",
    "evaluate": "judge",
}
"""Stage -> the word for it on the screens, in their order."""
_WINDOW_S = 60.0
_LEAST_S = 5.0


class Rate:
    """Measure how many items a stage finishes per second, over the last minute."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque(maxlen=128)

    def add(self, done: int, now: float | None = None) -> None:
        """Note that `done` items are finished now; fewer than before mean another round."""
        now = time.monotonic() if now is None else now
        if self._seen and done < self._seen[-1][1]:
            self._seen.clear()
        self._seen.append((now, done))
        while len(self._seen) > 2 and now - self._seen[0][0] > _WINDOW_S:
            self._seen.popleft()

    @property
    def per_second(self) -> float:
        """Items per second; 0.0 until some seconds were seen."""
        (t0, d0), (t1, d1) = (self._seen[0], self._seen[-1]) if self._seen else ((0.0, 0), (0.0, 0))
        return (d1 - d0) / (t1 - t0) if t1 - t0 >= _LEAST_S else 0.0


class WholeBar(Widget):
    """One bar for the whole round, with what the screen says of the time left behind it."""

    DEFAULT_CSS = "WholeBar { height: 1; text-wrap: nowrap; }"

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.share, self.text = 0.0, ""

    def show(self, share: float, text: str) -> None:
        """Fill the bar to `share`, in [0, 1], and say `text` after the percentage."""
        self.share, self.text = share, text
        self.refresh()

    def render(self) -> Content:
        # a round that is not finished never shows 100 %
        percent = 100 if self.share >= 1 else min(99, round(100 * self.share))
        after = f" {percent:>3} %   {shown(self.text, lines=False)}" if self.text else f" {percent:>3} %"
        room = max(8, self.size.width - len(after))
        filled = min(room, round(room * self.share))
        return Content.assemble(("━" * filled, ACTIVE), ("─" * (room - filled), MUTED), after)


class StageList(Widget):
    """The stages in their order, as many on a line as fit; the one that runs stands out, those that are done do not."""

    DEFAULT_CSS = "StageList { height: auto; text-wrap: nowrap; }"

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._items: list[Content] = []
        self.rates = {stage: Rate() for stage in STAGES}

    def show(self, rows: Sequence[Mapping[str, Any]], state: str, notes: Mapping[str, str]) -> None:
        """Show the rows of `store.reports.progress`; `notes` holds a few words for stages that have not begun."""
        for row in rows:
            if state != "running":
                self.rates[row["stage"]] = Rate()  # time in which nothing is done does not count
            self.rates[row["stage"]].add(row["done"])
        over, lines = state == "done", len(self._lines(self.size.width))
        self._items = [self._item(row, state, "" if over else notes.get(row["stage"], ""), over) for row in rows]
        self.refresh(layout=len(self._lines(self.size.width)) != lines)

    def _item(self, row: Mapping[str, Any], state: str, note: str, over: bool) -> Content:
        stage, done, total = row["stage"], row["done"], row["total"]
        name = STAGES[stage]
        if 0 < total == done:
            return _assemble(DONE, f"{name} {done:,}", MUTED)
        if over:
            return _assemble(LEFT_OUT, name, MUTED)
        if not done:
            return _assemble(NOT_BEGUN, f"{name} {note}".rstrip(), MUTED)
        sign = {"running": RUNNING, "paused": PAUSED}.get(state, LOOK)
        rate = self.rates[stage].per_second if state == "running" else 0.0
        measured = f"  {rate:.1f} /s  ~{duration((total - done) / rate)}" if rate else ""
        return _assemble(sign, f"{name} {done:,} / {total:,}{measured}", "bold")

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        return max(1, len(self._lines(width)))

    def render(self) -> Content:
        return Content("\n").join(self._lines(self.size.width))

    def _lines(self, width: int) -> list[Content]:
        lines: list[Content] = []
        for item in self._items:
            if lines and lines[-1].cell_length + 3 + item.cell_length <= width:
                lines[-1] = Content.assemble(lines[-1], "   ", item)
            else:
                lines.append(item)
        return lines


def _assemble(sign: str, text: str, style: str) -> Content:
    return Content.assemble((sign, STYLE_OF_SIGN[sign]), (f" {text}", style))
