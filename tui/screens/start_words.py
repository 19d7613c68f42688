"""Write what was found about the choices for the next round: model, problems, forecast, an unfinished round."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from textual.content import Content

from conself_local.foreign_text import shown
from conself_local.machine.room import DISK_NEEDED_BYTES, gib
from conself_local.round.choices import Choices
from conself_local.store.store import RoundInfo
from tui.design import BAD, DONE, FAILED, LOOK, MUTED, UNKNOWN, clock, day, duration, model_name, plain, plural, signed
from tui.screens.looking import Looked, memory_needed


def model_words(looked: Looked) -> Content:
    """Return one line about the chosen model: what it is, or why it cannot be used."""
    file = looked.model.file if looked.model else None
    if looked.model_fault or file is None:
        return signed(FAILED, looked.model_fault, BAD)
    what = (
        f"{model_name(file.path.name)}: {file.architecture}, {file.weights / 1e6:,.0f} M weights, {file.formats[0][0]}"
    )
    if looked.model and looked.model.exclusion_reason:
        return signed(LOOK, f"{what}; not trained here: {looked.model.exclusion_reason}")
    needed = memory_needed(looked)
    return signed(DONE, f"{what}, trains in {gib(needed)}" if needed else what)


def problems_words(looked: Looked) -> Content:
    """Return one line about the problems: how many for what, or why they cannot be used."""
    if looked.problems_fault or looked.counts is None:
        return signed(FAILED, looked.problems_fault, BAD)
    splits = looked.counts.splits
    judged = splits["validation"] + splits["held-out"]
    left_out = f", {looked.counts.excluded:,} left out" if looked.counts.excluded else ""
    return signed(DONE, f"{splits['train']:,} to train, {judged:,} to judge{left_out}", MUTED)


def forecast_lines(looked: Looked, choices: Choices, tiny: bool) -> Content:
    """Return what the round will take: each part with its work and time, then all of it with the time of day."""
    work, cost = looked.work, looked.cost
    if work is None:
        return plain("The forecast comes once everything chosen can be used.", MUTED)
    training = cost.training_s if cost else None
    if tiny:
        return _short_forecast(looked, choices)
    rows = (
        ("Sampling", plural(work.answers, "answer"), cost.sampling_s if cost else None),
        ("Training", f"~{plural(work.pairs, 'pair')}", training),
        ("Judging", plural(work.judged, "answer"), cost.judging_s if cost else None),
    )
    lines = [
        plain(f"{name:<9} {what:<15} {f'about {duration(seconds)}' if seconds is not None else UNKNOWN}")
        for name, what, seconds in rows
    ]
    rounds = int(choices.rounds or 1)
    if cost is None:
        lines.append(signed(LOOK, "Not measured with this model yet: f measures it in about 20 s."))
    else:
        seconds = cost.seconds * rounds
        known = "" if cost.training_s is not None else " without training"
        of = f" {rounds} rounds" if rounds > 1 else ""
        lines.append(plain(f"Together{of}: about {duration(seconds)}{known}, done by {clock(seconds)}", "bold"))
    if rounds > 1:
        lines.append(signed(LOOK, "Further rounds of whole adapters took gains away in our tests."))
    needed = memory_needed(looked)
    room = f"memory {gib(needed) if needed else UNKNOWN}{'' if looked.rates else ' or more'}, "
    lines.append(plain(f"{room}disk {gib(DISK_NEEDED_BYTES)} at most", MUTED))
    return Content("\n").join(lines)


def _short_forecast(looked: Looked, choices: Choices) -> Content:
    """Return the forecast in one line, for a small terminal."""
    work, cost, needed = looked.work, looked.cost, memory_needed(looked)
    if cost is None or work is None:
        return signed(LOOK, "Not measured with this model yet: f measures it in about 20 s.")
    seconds = cost.seconds * int(choices.rounds or 1)
    known = "" if cost.training_s is not None else " without training"
    memory = f", memory {gib(needed)}" if needed else ""
    return plain(f"about {duration(seconds)}{known}, done by {clock(seconds)}{memory}, disk {gib(DISK_NEEDED_BYTES)}")


def unfinished_words(latest: RoundInfo, progress: Sequence[Mapping[str, Any]], *, running: bool) -> Content:
    """Return what the unfinished round was started with; the fields for another one do not count for it."""
    request = latest.request
    begun = [row for row in progress if row["done"] and row["done"] < row["total"]]
    at = (
        f", {'now' if running else 'stopped'} at {begun[0]['stage']}, {begun[0]['done']:,} of {begun[0]['total']:,}"
        if begun
        else ""
    )
    problems = shown(str(request.get("problems") or "starter pack"), lines=False)
    limit = f", at most {request['limit']:,}" if request.get("limit") else ""
    lines = [
        plain(f"begun {day(latest.created_at_utc)} UTC{at}"),
        plain(f"model {model_name(latest.model_path.name)} · preset {latest.settings.preset} · {problems}{limit}"),
    ]
    if not running:
        lines.append(plain("It continues as it was started: what is chosen for a new round does not change it.", MUTED))
    return Content("\n").join(lines)
