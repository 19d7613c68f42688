"""Show the round at work: how much is done and when it ends, the stages, the latest programs, and what to know."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from typing import Any, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll

from conself_local.round import process as round_process
from conself_local.round.overview import expected_steps, seconds_per_step
from conself_local.round.time_left import SAMPLED, TimeLeft, time_left
from conself_local.round.views import latest_programs, tokens_since
from conself_local.store.events import load_events
from conself_local.store.reports import progress, round_report
from conself_local.store.store import RoundInfo, Row, Store
from tui.app_state import AppState
from tui.design import (
    DONE,
    LOOK,
    clock,
    duration,
    model_name,
    plural,
)
from tui.screens.base import SIGN_OF_STEP
from tui.screens.problem import ProblemScreen
from tui.screens.steering import SteersRound
from tui.widgets.histogram import Histogram, small_histogram
from tui.widgets.latest_programs import LatestPrograms
from tui.widgets.notice_list import notice_lines
from tui.widgets.panel import Panel
from tui.widgets.plain import Plain
from tui.widgets.source_view import SourceView
from tui.widgets.stage_progress import STAGES, StageList, WholeBar

_LATEST = 40
_MOST_NOTICES = 4


@dataclass(frozen=True)
class Shown:
    """What `load` returns of a round."""

    report: dict[str, Any]
    progress: list[dict[str, Any]]
    programs: list[dict[str, Any]]
    notices: list[Row]
    tokens: int
    step_seconds: float | None
    steps: int | None


class RoundScreen(SteersRound):
    """The screen of the latest round; keys hold, stop and continue it."""

    NAME = "round"
    AUTO_FOCUS = "#programs"
    REFRESH = 1.0
    STATE_IN_PANEL = False  # the first panel is about it anyway
    ALWAYS = True  # the round process may start or end without writing to the store
    HELP = (
        "The round from observations to the verdict, while it runs. p holds and resumes it, x stops it after a "
        "question; everything stored is kept, and s continues. A round can keep running after this program closes. "
        "While the cursor is below the first row, the latest programs stay where they are; Home shows the new ones. "
        "Enter opens the problem of a program."
    )
    BINDINGS: ClassVar[list[BindingType]] = [Binding("w", "app.notices", "Notices")]

    def __init__(self, app_state: AppState) -> None:
        super().__init__(app_state)
        self._last_row: int | None = None
        self._token_counts: deque[tuple[float, int]] = deque(maxlen=20)
        self._round_id: int | None = None
        self._shown_program = ""

    def compose_body(self) -> ComposeResult:
        with Panel(heading="Round", id="whole"):
            yield WholeBar(id="bar")
            yield StageList(id="stages")
        with Horizontal(id="below"):
            with Panel(heading="Latest programs", id="latest"):
                yield LatestPrograms(id="programs")
            with Vertical(id="beside"):
                with Panel(heading="How much programs disagree", id="disagree"):
                    yield Histogram(id="histogram")
                with Panel(heading="What the stages did", id="did"), VerticalScroll():
                    yield Plain("", id="summary")
                with Panel(heading="Program", id="program"):
                    yield SourceView(id="source")
        with Panel(heading="To know", keys="w all notices", id="to-know"):
            yield Plain("", id="notices")

    def load(self, store: Store) -> Any:
        latest = store.latest_round()
        failure = round_process.failure(self.app_state.home)
        if latest is None:
            return None, failure
        tokens, self._last_row = tokens_since(store, latest.id, self._last_row)
        return self._read(store, latest, tokens), failure

    @staticmethod
    def _read(store: Store, latest: RoundInfo, tokens: int) -> Shown:
        return Shown(
            round_report(store, latest.id),
            progress(store, latest.id),
            latest_programs(store, latest.id, _LATEST),
            load_events(store, latest.id),
            tokens,
            seconds_per_step(store, latest.model_sha256),
            expected_steps(store, latest),
        )

    def show(self, data: Any) -> None:
        found, failure = data
        for id in ("whole", "to-know", "stages"):
            self.query_one(f"#{id}").display = found is not None
        self.query_one("#below").display = found is not None and found.report["samples"] > 0
        if found is None:
            self._show_nothing(failure)
            return
        report = found.report
        state = self._overview.state if self._overview else "stopped"
        self._round_id = report["round"]
        self._show_whole(found, state)
        self._show_latest(found)
        scored = sum(b["count"] for b in report["entropy_histogram"])
        self.query_one("#disagree").display = report["mean_crash_rate"] is not None
        if report["mean_crash_rate"] is not None:
            self.query_one(Histogram).show(report["entropy_histogram"])
            disagree = self.query_one("#disagree", Panel)
            disagree.set_heading(f"How much programs disagree, {plural(scored, 'problem')} scored")
            disagree.set_keys(f"{report['learnable']:,} learnable · 3 shows the problems")
        lines = [f"{STAGES[stage]}: {report['stages'][stage]}" for stage in STAGES if stage in report["stages"]]
        self.query_one("#summary", Plain).update("\n".join(lines))
        self.query_one("#did").display = bool(lines)
        self._show_notices(found.notices)
        before = "" if report["samples"] else "The programs show here as they are sampled, after the observations."
        self.set_status(self._next_step(state, failure) or before, is_error=bool(failure))

    def _show_nothing(self, failure: str) -> None:
        starting = self._overview is not None and self._overview.state == "starting"
        if starting:
            self._show_starting()
        self.query_one("#whole").display = starting
        hint = "" if starting else "No round yet. Press s or 1: the start screen shows what a round would be made from."
        self.set_status(failure or hint, is_error=bool(failure))

    def _show_starting(self) -> None:
        self.query_one("#whole", Panel).set_heading("A round is starting")
        self.query_one(WholeBar).show(0.0, "reading the model and the problems")

    def _show_whole(self, found: Shown, state: str) -> None:
        report = found.report
        self.query_one("#stages").display = state != "starting"
        if state == "starting":
            self._show_starting()
            return
        left = time_left(*self._work(found))
        working = [STAGES[row["stage"]] for row in found.progress if 0 < row["done"] < row["total"]]
        sign = DONE if state == "done" else SIGN_OF_STEP.get(state, LOOK)  # type: ignore[call-overload]
        doing = ", ".join(working) if state == "running" and working else {"running": "working"}.get(state, state)
        speed = self._speed(found.tokens, state)
        heading = (
            f"Round {report['round']} · {report['preset']} · {model_name(report['model'])} · {sign} {doing}{speed}"
        )
        self.query_one("#whole", Panel).set_heading(heading)
        share = 1.0 if state == "done" else left.share
        self.query_one(WholeBar).show(share, describe_time(left) if state == "running" else "")
        each = self.app_state.seconds_per_answer
        notes = {}
        for row in self._work(found)[0]:
            if row["stage"] in SAMPLED and each:
                notes[row["stage"]] = f"~{duration(row['total'] * each)}"
        if found.step_seconds and found.steps:
            notes["train"] = f"~{duration(found.steps * found.step_seconds)}"
        self.query_one(StageList).show(found.progress, state, notes)

    def _work(self, found: Shown) -> tuple[list[dict[str, Any]], dict[str, float | None]]:
        """Return the progress with the expected steps of training, and the seconds of one item of each stage."""
        rates = self.query_one(StageList).rates
        for stage in ("sample", "evaluate"):
            if rate := rates[stage].per_second:
                self.app_state.seconds_per_answer = 1 / rate
        each = self.app_state.seconds_per_answer
        rows = [
            row | {"total": found.steps or 1} if row["stage"] == "train" and not row["total"] else row
            for row in found.progress
        ]
        observe = 1 / rates["observe"].per_second if rates["observe"].per_second else each
        steps = found.step_seconds if found.steps or found.report["steps"] else None
        return rows, {"observe": observe, "sample": each, "evaluate": each, "train": steps}

    def _show_latest(self, found: Shown) -> None:
        sampled = found.report["samples"]
        self.query_one(LatestPrograms).offer(found.programs, sampled)
        small = f"  {small_histogram(found.report['entropy_histogram'])}" if self.has_class("-tiny") else ""
        self.query_one("#latest", Panel).set_heading(
            f"Latest programs  {min(sampled, _LATEST):,} of {sampled:,}{small}"
        )
        self._count_new()

    def _count_new(self) -> None:
        new = self.query_one(LatestPrograms).new
        said = f"+{new:,} new: Home shows them" if new > 0 else "newest first · Enter opens the problem"
        self.query_one("#latest", Panel).set_keys(said)

    @on(LatestPrograms.Moved, "#programs")
    def _moved(self) -> None:
        self._show_program()
        self._count_new()

    def _show_program(self) -> None:
        """Show the program under the cursor."""
        row = self.query_one(LatestPrograms).row
        if row and row["id"] != self._shown_program:
            self._shown_program = row["id"]
            source = self.query_one("#source", SourceView)
            source.show(row["code"] or "The answer holds no program.", python=bool(row["code"]))
            self.query_one("#program", Panel).set_heading(f"Program  {row['problem_id']}")

    @on(LatestPrograms.Chosen, "#programs")
    def _open(self, event: LatestPrograms.Chosen) -> None:
        if self._round_id is not None:
            self.app.push_screen(ProblemScreen(self.app_state, self._round_id, event.row["problem_id"]))

    def _show_notices(self, notices: list[Row]) -> None:
        panel = self.query_one("#to-know", Panel)
        panel.display = bool(notices)
        panel.set_heading(f"To know  {len(notices)}")
        self.query_one("#notices", Plain).update(notice_lines(notices[-_MOST_NOTICES:]))

    def _speed(self, tokens: int, state: str) -> str:
        """Return the sampling speed over the last reloads; a program counts once it has ended."""
        self._token_counts.append((time.monotonic(), tokens))
        seconds = self._token_counts[-1][0] - self._token_counts[0][0]
        rate = sum(count for _, count in list(self._token_counts)[1:]) / seconds if seconds > 0 else 0
        return f" · {rate:.0f} tokens/s" if state == "running" and rate else ""

    def _next_step(self, state: str, failure: str) -> str:
        if failure:
            return f"The round ended early: {failure}; then press s to continue"
        if state == "done":
            seen = self._overview
            outcome = f"{seen.outcome.capitalize()}. " if seen and self.has_class("-tiny") else ""
            return f"{outcome}6 shows what changed, 7 tries it, s starts another round like this, 1 a different one."
        if state == "paused":
            return "Held: p resumes it, x stops it."
        return "Not running; nothing is lost: s continues." if state == "stopped" else ""


def describe_time(left: TimeLeft) -> str:
    """Return how long the round still takes and when it ends: `about 1 h 15 min left · by 14:20`."""
    if left.seconds is None:
        return "time left: known once some programs are sampled"
    low, high = left.range
    is_range = not left.sure and duration(low) != duration(high)
    text = f"{duration(low)} to {duration(high)}" if is_range else f"about {duration(left.seconds)}"
    if left.unknown:
        return f"{text}, then {', '.join(STAGES[stage] for stage in left.unknown)}: not measured yet"
    return f"{text} left · by {clock(left.seconds)}" if left.sure else f"{text} left"
