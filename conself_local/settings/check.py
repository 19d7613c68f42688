"""Check settings in one place: types, finite numbers, ranges, and settings that contradict each other.

Not covered: the form in which values arrive (`convert.py`, `text.py`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

from conself_local.method.guard import MIN_SAMPLES
from conself_local.settings.schema import FIELDS, SettingField, Settings, get_value
from conself_local.settings.text import format_value

_LARGEST = 2**1023
"""Whole numbers from here on have no float."""


@dataclass(frozen=True)
class Conflict:
    """Settings that contradict each other."""

    names: tuple[str, ...]
    message: str


def find_conflicts(settings: Settings) -> list[Conflict]:
    """Return the settings that contradict each other."""
    found = []
    longest, pair = settings.sampling.longest_completion, settings.training.max_tokens
    if pair < longest:
        names = ("training.max_tokens", "sampling.max_new_tokens", "sampling.thinking_tokens")
        found.append(
            Conflict(
                names,
                "training.max_tokens must be at least sampling.max_new_tokens plus sampling.thinking_tokens "
                f"({longest}), not {pair}, because longer pairs are not used for training",
            )
        )
    if not settings.training.sft_weight and (settings.pairs.weight == "none" or not settings.training.beta):
        names = ("training.sft_weight", "pairs.weight", "training.beta")
        found.append(
            Conflict(
                names,
                "training.sft_weight must be above 0 if pairs.weight is none or training.beta is 0, because nothing "
                "would be learned",
            )
        )
    if settings.pairs.later_programs is not None and not settings.pairs.pool_rounds:
        found.append(
            Conflict(
                ("pairs.later_programs", "pairs.pool_rounds"),
                "pairs.later_programs must be none unless pairs.pool_rounds is true, because no earlier round votes",
            )
        )
    if settings.acceptance.guard and settings.evaluation.samples < MIN_SAMPLES:
        found.append(
            Conflict(
                ("evaluation.samples", "acceptance.guard"),
                f"evaluation.samples must be at least {MIN_SAMPLES} if acceptance.guard is true, because the guard "
                "compares sampled answers",
            )
        )
    return found


def describe_allowed(field: SettingField) -> str:
    """Return what values a setting may have: `a whole number, at least 1, at most 100, or none`."""
    if field.choices:
        return f"one of {', '.join(field.choices)}"
    if field.kind is bool:
        return "true or false"
    kind = "a whole number" if field.kind is int else "a number"
    return ", ".join(filter(None, (kind, str(field.about.allowed)))) + (", or none" if field.optional else "")


def verify_type(name: str, value: object) -> None:
    """Check the type of one setting, as stored settings need it.

    Raises ValueError that names the setting and says what is allowed; a number that is not finite has no type.
    """
    if not fits(value, FIELDS[name].hint):
        raise ValueError(f"{name} must be {describe_allowed(FIELDS[name])}, not {_shorten(value)}")


def verify_value(name: str, value: Any) -> None:
    """Check type and range of one setting. Raises ValueError that names it and says what is allowed."""
    verify_type(name, value)
    field = FIELDS[name]
    if field.kind in (int, float) and value is not None and not field.about.allowed.contains(value):
        raise ValueError(f"{name} must be {describe_allowed(field)}, not {_shorten(value)}")


def verify_settings(settings: Settings) -> None:
    """Check every setting, and that none contradicts another. Raises ValueError that says what is allowed."""
    for name in FIELDS:
        verify_value(name, get_value(settings, name))
    for conflict in find_conflicts(settings):
        raise ValueError(conflict.message)


def _shorten(value: Any) -> str:
    text = repr(value) if isinstance(value, str) else format_value(value)
    return text if len(text) <= 100 else f"{text[:100]}..."


def fits(value: object, hint: Any) -> bool:
    """Return whether a value that was read from JSON has the type of a field; a float is a finite number."""
    kind, arguments = get_origin(hint), get_args(hint)
    if hint is Any:
        return True
    if kind is Literal:
        return isinstance(value, str) and value in arguments
    if kind is tuple:
        return isinstance(value, tuple) and all(fits(item, arguments[0]) for item in value)
    if kind is dict:
        return isinstance(value, dict) and all(
            fits(k, arguments[0]) and fits(v, arguments[1]) for k, v in value.items()
        )
    if arguments:
        return any(fits(value, argument) for argument in arguments)
    if hint is float:
        return (type(value) is float and math.isfinite(value)) or (type(value) is int and abs(value) < _LARGEST)
    return type(value) is hint
