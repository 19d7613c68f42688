"""One stage of a round: its name, a bar, done of total."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.reactive import reactive
from textual.widgets import Label, ProgressBar


class StageLane(Horizontal):
    """Set `done` and `total`; a total of 0 is a stage that has not begun."""

    DEFAULT_CSS = """
    StageLane { height: 1; }
    StageLane .stage-name { width: 12; }
    StageLane .stage-count { width: 18; text-align: right; }
    """

    done: reactive[int] = reactive(0)
    total: reactive[int] = reactive(0)

    def __init__(self, stage: str) -> None:
        super().__init__(id=f"lane-{stage}")
        self._stage = stage

    def compose(self) -> ComposeResult:
        yield Label(self._stage, classes="stage-name")
        yield ProgressBar(show_eta=False)
        yield Label("", classes="stage-count")

    def watch_done(self) -> None:
        self._redraw()

    def watch_total(self) -> None:
        self._redraw()

    def _redraw(self) -> None:
        if not self.query(ProgressBar):  # not composed yet
            return
        self.query_one(ProgressBar).update(total=max(1, self.total), progress=self.done if self.total else 0)
        self.query_one(".stage-count", Label).update(f"{self.done} / {self.total}" if self.total else "-")
        self.set_class(0 < self.total == self.done, "-done")
        self.set_class(0 < self.done < self.total, "-running")

    def on_mount(self) -> None:
        self._redraw()
