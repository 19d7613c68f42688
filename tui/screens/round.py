"""The running round: a lane a stage and what is known so far, asked of the store once a second."""

from __future__ import annotations

from typing import Any, ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.screen import Screen
from textual.widgets import Footer, Header, Label, Static

from conself_local.store.reports import progress, round_report
from conself_local.store.store import Store
from tui.widgets.stage_lane import StageLane

STAGES = ("observe", "sample", "execute", "score", "pair", "train", "evaluate")


class RoundScreen(Screen[None]):
    """Empty: says how to begin. Running, failed and done rounds are shown as the store has them."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("r", "refresh_now", "Refresh")]

    def __init__(self, store: Store) -> None:
        super().__init__()
        self._store = store

    def compose(self) -> ComposeResult:
        yield Header()
        yield Label("", id="headline", markup=False)
        with Vertical(id="lanes"):
            for stage in STAGES:
                yield StageLane(stage)
        with VerticalScroll(id="report"):
            yield Static("", id="summary", markup=False)
        yield Footer()

    def on_mount(self) -> None:
        self.action_refresh_now()
        self.set_interval(1.0, self.action_refresh_now)

    def action_refresh_now(self) -> None:
        self._load()

    @work(thread=True, exclusive=True, group="load")
    def _load(self) -> None:
        latest = self._store.latest_round()
        if latest is None:
            self.app.call_from_thread(self._show_empty)
            return
        lanes, report = progress(self._store, latest.id), round_report(self._store, latest.id)
        self.app.call_from_thread(self._show, lanes, report)

    def _show_empty(self) -> None:
        self.query_one("#headline", Label).update("No round yet. Begin one in another terminal: conself run")

    def _show(self, lanes: list[dict[str, Any]], report: dict[str, Any]) -> None:
        headline = f"Round {report['round']} ({report['state']}), preset {report['preset']}, {report['model']}"
        self.query_one("#headline", Label).update(headline)
        for lane in lanes:
            widget = self.query_one(f"#lane-{lane['stage']}", StageLane)
            widget.total, widget.done = lane["total"], lane["done"]
        self.query_one("#summary", Static).update("\n".join(summary_lines(report)))


def summary_lines(report: dict[str, Any]) -> list[str]:
    """The stages' own sentences, the entropy histogram and the verdicts."""
    lines = [f"{stage}: {sentence}" for stage, sentence in report["stages"].items()]
    if report["mean_crash_rate"] is not None:
        most = max([b["count"] for b in report["entropy_histogram"]] + [1])
        lines += ["", f"mean crash rate {report['mean_crash_rate']:.2f}; semantic entropy in bits, problems:"]
        lines += [f"{b['label']:>11} {b['count']:>4} {'█' * round(30 * b['count'] / most)}" for b in report["entropy_histogram"]]
    if report["steps"]:
        lines += ["", f"training: step {report['steps']}, loss {report['first_loss']:.4f} -> {report['last_loss']:.4f}"]
    return lines
