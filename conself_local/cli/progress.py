"""Show a round on a terminal: progress bars with rate and time left, and the report as text.

Progress is printed to standard error, the report to standard output. Not covered: collecting the data of the report
(`store/reports.py`).
"""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

from conself_local.cli.output import echo, rich_text
from conself_local.evaluation.report import result_lines
from conself_local.events import Event, ItemStored, Notice, StageDone, StageStarted, StepDone
from conself_local.settings import format_value

_PLAIN_INTERVAL_S = 20.0
"""Least time between two progress lines if standard error is not a terminal."""
_STAGE_LABELS = {
    "problems left out": "problems excluded",
    "grow": "augmented inputs",
    "train": "training result",
    "running copy": "converted weights",
    "pruned": "removed",
}
"""Stage whose summary the report shows -> label."""


def _is_plain(console: Console) -> bool:
    """Return whether lines are all that can be shown: no terminal, or one that cannot move its cursor."""
    return not console.is_terminal or console.is_dumb_terminal


class Counter:
    """A context manager that shows on standard error a count whose final value is unknown."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._console = Console(stderr=True, highlight=False)
        self._status = self._console.status(what)
        self._last_line_at = time.monotonic()

    def __enter__(self) -> Counter:
        self._status.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._status.stop()

    def show(self, done: int) -> None:
        """Show the count; only multiples of 1000 are shown, and without a terminal at most one line every 20 s."""
        if done % 1000 == 0:
            self._status.update(f"{done} {self._what}")
            if _is_plain(self._console) and time.monotonic() - self._last_line_at > _PLAIN_INTERVAL_S:
                self._last_line_at = time.monotonic()
                self._console.print(f"{done} {self._what}")


class Progress:
    """A context manager that shows one bar per stage; without a terminal, a progress line at most every 20 s."""

    def __init__(self) -> None:
        self.console = Console(stderr=True, highlight=False)
        self._bars = RichProgress(
            TextColumn("{task.description:<20}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}", markup=False),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            console=self.console,
            disable=_is_plain(self.console),
        )
        self._stage: tuple[str, Any, float, int] | None = None
        self._last_line_at = time.monotonic()

    def __enter__(self) -> Progress:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def print_line(self, text: str) -> None:
        """Print one line to standard error, above the bars."""
        self._bars.console.print(rich_text(text, self.console.encoding))

    def on_event(self, event: Event) -> None:
        """Show an event of a round: move the bar of its stage, or print a line."""
        if isinstance(event, StageStarted):
            task = self._bars.add_task(event.stage, total=event.total, completed=event.done, rate="", note="")
            self._stage = (event.stage, task, time.monotonic(), event.done)
        elif isinstance(event, ItemStored) and self._stage:
            self._advance(event)
        elif isinstance(event, StageDone):
            self.print_line(f"{event.stage}: {event.summary}")
        elif isinstance(event, Notice):
            self.print_line(event.text)
        elif isinstance(event, StepDone):
            self._print_occasionally(
                f"step {event.step}/{event.steps}: loss {event.loss:.4f}, margin {event.margin:+.3f}, "
                f"reward accuracy {event.reward_accuracy:.2f}, chosen {event.chosen_logp_shift:+.4f} nats per token"
            )

    def _advance(self, event: ItemStored) -> None:
        assert self._stage is not None, "an item is stored after its stage has started"
        _, task, started, before = self._stage
        elapsed = max(1e-6, time.monotonic() - started)
        rate = (event.done - before) / elapsed
        self._bars.update(
            task,
            completed=event.done,
            rate=f"{rate:.1f}/s",
            note=rich_text(event.note[:30], self.console.encoding, lines=False).plain,
        )
        if rate:
            left = (event.total - event.done) / rate
            self._print_occasionally(
                f"{event.stage}: {event.done}/{event.total}, {rate:.1f}/s, about {left:.0f} s left"
            )

    def _print_occasionally(self, text: str) -> None:
        if _is_plain(self.console) and time.monotonic() - self._last_line_at > _PLAIN_INTERVAL_S:
            self._last_line_at = time.monotonic()
            self.print_line(text)


def print_progress(rows: list[dict[str, Any]]) -> None:
    """Print one line per stage on standard output: items done and in total, as `store.reports.progress` counts them."""
    for row in rows:
        echo(f"{row['stage']:<10} {row['done']:>7} / {row['total']}")
    echo()


def print_report(report: dict[str, Any]) -> None:
    """Print a round's report (`store.reports.round_report`) for people, on standard output."""
    echo(
        f"Round {report['round']} ({report['state']}), preset {report['preset']}, seed {report['seed']}, "
        f"model {report['model']}"
    )
    if changed := report["changed_settings"]:
        echo("changed settings   " + ", ".join(f"{name} {format_value(value)}" for name, value in changed.items()))
    echo(f"prompt             {report['prompt']}")
    echo(f"problems sampled   {report['problems_sampled']} of {report['problems']}")
    echo(
        f"samples            {report['samples']}, with a program {report['samples_with_program']}, "
        f"different programs {report['programs']}, cut at the limit of tokens {report['samples_cut']}"
    )
    if report["samples_saved"] is not None:
        echo(f"samples saved      {report['samples_saved']} by adaptive sampling")
    if report["mean_crash_rate"] is not None:
        echo(f"mean crash rate    {report['mean_crash_rate']:.3f}")
        echo(f"informative        {report['informative']} problems; learnable {report['learnable']}")
        echo("semantic entropy   (bits: number of problems)")
        _print_histogram(report["entropy_histogram"])
    if report["selected_problems"]:
        echo("selected           " + ", ".join(report["selected_problems"]))
    echo(f"pairs              {report['pairs']}")
    if report["steps"]:
        echo(
            f"training           {report['steps']} steps, "
            f"loss {report['first_loss']:.4f} -> {report['last_loss']:.4f}, "
            f"reward accuracy {report['reward_accuracy']:.2f}, "
            f"chosen {report['chosen_logp_shift']:+.4f} nats per token, "
            f"peak memory {report['trainer_peak_bytes'] / 2**30:.1f} GiB"
        )
    for stage, label in _STAGE_LABELS.items():
        if stage in report["stages"]:
            echo(f"{label:<18} {report['stages'][stage]}")
    if report["evaluations"]:
        echo("base versus adapter (parsed, crashed, cut: shares of all answers; tokens: mean length)")
        for name, result in report["evaluations"].items():
            for line in result_lines(name, result):
                echo(line)
        if pooled := report["pooled"]:
            echo(
                f"greedy, {' + '.join(pooled['benchmarks'])}: gained {pooled['gained']}, lost {pooled['lost']}, "
                f"McNemar p = {pooled['p']:.3f}"
            )
        echo(f"the held-out split has been evaluated {report['held_out_judged']} times in this home")
    if report["adapter"]:
        echo(f"adapter            {report['adapter']['path']} ({report['adapter']['state']})")
    if "guard" in report["stages"]:
        echo(f"guard              {report['stages']['guard']}")
    if "decide" in report["stages"]:
        echo(f"verdict            {report['stages']['decide']}")


def _print_histogram(bins: list[dict[str, Any]]) -> None:
    largest = max([b["count"] for b in bins] + [1])
    for b in bins:
        echo(f"  {b['label']:>10} {b['count']:>4} {'#' * round(40 * b['count'] / largest)}")
