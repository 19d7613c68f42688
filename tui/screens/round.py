"""Show the running round: one bar per stage, the entropy histogram, latest programs and notices; pause and stop it."""

from __future__ import annotations

import time
from collections import deque
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical

from conself_local.round import process as round_process
from conself_local.round.views import latest_programs, tokens_since
from conself_local.store.events import load_events
from conself_local.store.reports import progress, round_report
from conself_local.store.store import Store
from tui.app_state import AppState
from tui.screens.base import BaseScreen
from tui.widgets.big_table import BigTable
from tui.widgets.histogram import Histogram
from tui.widgets.plain import Plain, PlainLabel
from tui.widgets.stage_progress import StageProgress

STAGES = ("observe", "sample", "execute", "grow", "score", "pair", "train", "evaluate")
_SHOWN_NOTICES = 5


class RoundScreen(BaseScreen):
    """The screen of the latest round; keys pause, stop and continue it."""

    NAME = "round"
    REFRESH = 1.0
    ALWAYS = True  # the round process may start or end without writing to the store
    HELP = (
        "The round from observations to the verdict, while it runs. p pauses and resumes it, x stops it; everything "
        "stored is kept, and s continues it. A round can keep running after this program closes."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("p", "pause", "Pause / resume"),
        Binding("x", "stop", "Stop"),
        Binding("s", "start", "Start"),
    ]

    def __init__(self, app_state: AppState) -> None:
        super().__init__(app_state)
        self._last_row: int | None = None
        self._token_counts: deque[tuple[float, int]] = deque(maxlen=20)

    def compose_body(self) -> ComposeResult:
        yield PlainLabel("", id="headline")
        with Vertical(id="stages"):
            for stage in STAGES:
                yield StageProgress(stage)
        with Horizontal(id="below"):
            yield BigTable([("ran", 10), ("ended", 10), ("tokens", 6), ("problem", 40)], _cells, id="programs")
            with Vertical(id="beside"):
                yield Histogram(id="histogram")
                yield Plain("", id="notices")
                yield Plain("", id="summary")

    def load(self, store: Store) -> Any:
        home = self.app_state.home
        latest = store.latest_round()
        state = (
            "paused" if round_process.is_paused(home) else "running" if round_process.running(home) else "not running"
        )
        if latest is None:
            return None, state, round_process.failure(home)
        id = latest.id
        tokens, self._last_row = tokens_since(store, id, self._last_row)
        events = load_events(store, id, _SHOWN_NOTICES)
        found = progress(store, id), round_report(store, id), latest_programs(store, id), tokens, events
        return found, state, round_process.failure(home)

    def show(self, data: Any) -> None:
        found, process, failure = data
        headline = self.query_one("#headline", PlainLabel)
        if found is None:
            starting = process != "not running"
            headline.update("The round is starting ..." if starting else "No round yet")
            self.set_status(
                failure or ("" if starting else "Press s to start one with the bundled model, or 1 to choose."),
                is_error=bool(failure),
            )
            return
        progress_rows, report, programs, tokens, events = found
        state = report["state"] if report["state"] != "running" else process
        speed = self._speed(tokens, state)
        headline.update(f"Round {report['round']} ({state}), preset {report['preset']}, {report['model']}{speed}")
        for row in progress_rows:
            self.query_one(f"#progress-{row['stage']}", StageProgress).update_counts(row["done"], row["total"])
        self.query_one("#programs", BigTable).set_rows(programs)
        if report["mean_crash_rate"] is not None:
            self.query_one(Histogram).show(report["entropy_histogram"], "problems by semantic entropy (bits):")
        self._show_notices(events)
        self.query_one("#summary", Plain).update(
            "\n".join(f"{stage}: {summary}" for stage, summary in report["stages"].items())
        )
        self.set_status(self._next_step(report, state, failure), is_error=bool(failure))

    def _show_notices(self, events: list[dict[str, Any]]) -> None:
        """List the latest notices, newest first; a warning begins with an exclamation mark."""
        lines = [f"{'!' if e['severity'] == 'warning' else ' '} {e['stage']}: {e['text']}" for e in reversed(events)]
        notices = self.query_one("#notices", Plain)
        notices.update("\n".join(lines))
        notices.display = bool(lines)

    def _speed(self, tokens: int, state: str) -> str:
        """Return the sampling speed over the last reloads; a program counts once it has ended."""
        self._token_counts.append((time.monotonic(), tokens))
        seconds = self._token_counts[-1][0] - self._token_counts[0][0]
        rate = sum(count for _, count in list(self._token_counts)[1:]) / seconds if seconds > 0 else 0
        return f", {rate:.0f} tokens/s" if state == "running" and rate else ""

    @staticmethod
    def _next_step(report: dict[str, Any], state: str, failure: str) -> str:
        if failure:
            return f"The round ended early: {failure}; then press s to continue"
        if state == "done":
            return (
                f"{report['stages'].get('decide', 'done')} -> 6 shows what changed, 7 tries it, s starts the next round"
            )
        if state == "paused":
            return "Paused. Press p to resume."
        return "Stopped; nothing is lost. Press s to continue." if state == "not running" else ""

    def action_pause(self) -> None:
        paused = round_process.is_paused(self.app_state.home)
        done = round_process.resume(self.app_state.home) if paused else round_process.pause(self.app_state.home)
        self.notify(
            ("Resumed." if paused else "Pausing; work that has begun is finished first. Press p to resume.")
            if done
            else "No round is running. Press s to start one."
        )

    def action_stop(self) -> None:
        self.notify(
            "Stopping; everything stored is kept. Press s to continue later."
            if round_process.stop(self.app_state.home)
            else "No round is running. Press s to start one."
        )

    def action_start(self) -> None:
        if round_process.running(self.app_state.home):
            self.notify("The round is already running.")
            return

        def start(store: Store) -> None:
            latest = store.latest_round()
            unfinished = latest is not None and latest.state == "running"
            round_process.start(self.app_state.home, [] if unfinished else self.app_state.round_arguments())

        self.run_with_store(start, lambda _: self.notify("Starting ..."))


def _cells(row: dict[str, Any]) -> list[str]:
    return [row["ran"] if row["code"] else "no program", row["finish"], str(row["tokens"]), row["problem_id"]]
