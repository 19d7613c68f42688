"""Write what a person must know about a setting: meaning, range, presets, and what it does to the time of a round."""

from __future__ import annotations

from textual.content import Content

from conself_local.settings import (
    PRESETS,
    FormField,
    Settings,
    change_text,
    describe_allowed,
    find_conflicts,
    format_value,
    get_value,
)
from tui.design import BAD, CHANGED, DONE, FAILED, GOOD, LOOK, MUTED, WARN, duration, plain, signed
from tui.screens.looking import Looked


def describe(row: FormField, preset: str, effect: str, *, short: bool) -> Content:
    """Return the description of a setting; `short` leaves out what only explains."""
    about = row.field.about
    unit = f" {about.unit}" if about.unit else ""
    changed = (
        signed(CHANGED, f"{preset}: {row.preset_text}") if row.is_changed else signed(DONE, f"as in {preset}", MUTED)
    )
    allowed = Content.assemble(
        ("Allowed: ", MUTED), f"{describe_allowed(row.field)}{f' ({about.unit})' if unit else ''}"
    )
    if short:
        return Content("\n").join(
            [plain(about.meaning), Content.assemble(changed, "   ", allowed), plain(effect, MUTED)]
        )
    others = ", ".join(f"{name} {format_value(get_value(one, row.field.name))}" for name, one in PRESETS.items())
    lines = [
        plain(about.meaning),
        Content(""),
        Content.assemble(
            ("Value: ", MUTED), plain(f"{row.text}{unit if row.text != 'none' else ''}", "bold"), "   ", changed
        ),
        allowed,
        Content.assemble(("Presets: ", MUTED), others),
        Content.assemble(("Time: ", MUTED), about.time),
        Content.assemble(("Why: ", MUTED), about.reason),
        Content.assemble(("Name: ", MUTED), row.field.name),
        Content(""),
        plain(effect),
    ]
    return Content("\n").join(lines)


def value_words(settings: Settings, name: str, text: str) -> Content:
    """Return whether a typed value is allowed, and whether it contradicts another setting."""
    try:
        changed = change_text(settings, name, text)
    except ValueError as error:
        return signed(FAILED, str(error), BAD)
    conflicts = [conflict for conflict in find_conflicts(changed) if name in conflict.names]
    return signed(LOOK, conflicts[0].message, WARN) if conflicts else signed(DONE, "valid", GOOD)


def effect_words(now: Looked, before: Looked) -> str:
    """Return how long a round takes with the chosen settings, beside that of the preset if it differs."""
    if now.cost is None:
        if now.fault:
            return "The forecast comes once everything chosen can be used."
        return "How long a round takes is not measured with this model yet: f on screen 1 measures it."
    took = duration(now.cost.seconds)
    known = "" if now.cost.training_s is not None else " without training"
    was = duration(before.cost.seconds) if before.cost else took
    beside = f" (with the preset alone: {was})" if was != took else ""
    return f"A round takes about {took}{known}{beside}."
