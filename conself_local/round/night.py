"""Run one night: continue the unfinished round, or begin one, on mains power and for some hours at most.

The round is a process of its own (`process.py`), which is asked to stop when the hours are over or the mains power
ends; everything stored is kept, and the next night continues it. The result is stored for the morning.
Not covered: starting the night at its time (`machine/night_units.py`).
"""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import psutil

from conself_local.errors import ConselfError
from conself_local.home import Home
from conself_local.machine.power import on_mains
from conself_local.round import process as round_process
from conself_local.store.nights import begin_night, end_night
from conself_local.store.store import RoundInfo, Store

LOOK_SECONDS = 30.0
"""How often the power is looked at."""
_END_SECONDS = 150.0
"""Longest time that the round may take to stop; then it is killed, which loses nothing that is stored."""

StartRound = Callable[[Home, list[str], Sequence[str]], int]


@dataclass(frozen=True)
class NightPlan:
    """What a night may do."""

    hours: float
    arguments: tuple[str, ...]
    """Those of `conself run` for a new round; an unfinished one is continued as it was begun."""
    options: tuple[str, ...] = ()
    """Those before the verb."""


def run_night(
    store: Store,
    home: Home,
    plan: NightPlan,
    *,
    start: StartRound = round_process.start,
    is_on_mains: Callable[[], bool] = on_mains,
    look_s: float = LOOK_SECONDS,
) -> str:
    """Run a round until it ends, the hours are over or the mains power ends; return what came of it, in one sentence.

    If this process is stopped, the round is stopped too.
    """
    night, summary = begin_night(store), "it was stopped; everything stored is kept, and the next night continues it"
    try:
        if not is_on_mains():
            summary = "the computer was on battery, so nothing was run"
        elif round_process.running(home):
            summary = "a round was running already, so none was begun"
        else:
            summary = _run(store, home, plan, start, is_on_mains, look_s)
    except ConselfError as error:
        summary = error.message
        raise
    finally:
        latest = store.latest_round()
        end_night(store, night, latest.id if latest else None, summary)
    return summary


def _run(
    store: Store, home: Home, plan: NightPlan, start: StartRound, is_on_mains: Callable[[], bool], look_s: float
) -> str:
    pid = start(home, _arguments(store.latest_round(), plan), plan.options)
    why = _watch(pid, plan.hours, is_on_mains, look_s)
    return _describe(store.latest_round(), store, why, round_process.failure(home))


def _arguments(latest: RoundInfo | None, plan: NightPlan) -> list[str]:
    """Return the arguments of `conself run`: none for an unfinished round, which is continued as it was started."""
    return [] if latest and latest.state == "running" else list(plan.arguments)


def _watch(pid: int, hours: float, is_on_mains: Callable[[], bool], look_s: float) -> str:
    """Wait until the round ends, and return an empty text; or stop it, and return why."""
    deadline = time.monotonic() + hours * 3600
    try:
        process = psutil.Process(pid)
    except psutil.NoSuchProcess:
        return ""
    try:
        while True:
            try:
                process.wait(max(0.0, min(look_s, deadline - time.monotonic())))
                return ""
            except psutil.TimeoutExpired:
                if time.monotonic() >= deadline:
                    return f"was stopped after {hours:g} hours"
                if not is_on_mains():
                    return "was stopped, because the mains power ended"
    finally:
        _stop(process)


def _stop(process: psutil.Process) -> None:
    """Let the round stop as Ctrl-C does, even if it is paused; kill it if it does not end."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGCONT)
        try:
            process.wait(_END_SECONDS)
        except psutil.TimeoutExpired:
            process.kill()


def _describe(round_: RoundInfo | None, store: Store, why: str, failure: str) -> str:
    """Return what came of the night: the verdict of the round, or why it is not finished."""
    if round_ is None:
        return failure or "no round was begun"
    if round_.state == "done" and not failure:
        return f"round {round_.id} {store.stage_summary(round_.id, 'decide') or 'is done'}"
    if why:
        return f"round {round_.id} {why}; everything is kept, and the next night continues it"
    return f"round {round_.id} ended early: {failure or 'its log is in the folder logs of the home'}"
