"""Hold the signs, the words and the number formats that all screens share; `app.tcss` holds the looks.

A sign stands beside every colour, because colour alone does not reach everybody. Styles are names of theme variables,
so that they keep their contrast in every theme. Source of the signs: the design notes in `README.md`.
"""

from __future__ import annotations

import time

from textual.content import Content

from conself_local.foreign_text import shown

NOT_BEGUN, RUNNING, PAUSED, DONE, LOOK, FAILED, LEFT_OUT = "·", "▶", "‖", "✓", "!", "✗", "–"
IN_USE, CHANGED, LEARNABLE, TOO_EASY, TOO_HARD, NO_CHANGE, UNKNOWN = "★", "•", "◆", "▽", "▲", "=", "?"

GOOD, WARN, BAD, MUTED, ACTIVE = "$text-success", "$text-warning", "$text-error", "$foreground 60%", "$text-primary"
"""Styles for text: a theme variable each, which `Content` looks up when it is drawn (it cannot dim `$text-muted`)."""
BASE, ADAPTER = "$text-secondary", "$text-accent"
"""Styles of the base model and of the adapter, the same in every chart and difference."""

STYLE_OF_SIGN = {
    NOT_BEGUN: MUTED,
    RUNNING: ACTIVE,
    PAUSED: WARN,
    DONE: GOOD,
    LOOK: WARN,
    FAILED: BAD,
    LEFT_OUT: MUTED,
    IN_USE: ADAPTER,
    LEARNABLE: GOOD,
    TOO_EASY: MUTED,
    TOO_HARD: WARN,
}

SIGN_OF_CLASS = {
    "pending": NOT_BEGUN,
    "crashed": FAILED,
    "too easy": TOO_EASY,
    "learnable": LEARNABLE,
    "too hard": TOO_HARD,
}
"""Class of a problem (`round/views.py`) -> its sign."""

_MINUTE = 60
_LONG = 90 * _MINUTE
"""From this many seconds on a duration has hours."""


def signed(sign: str, text: str = "", style: str = "") -> Content:
    """Return a sign in its colour and, after a space, a text in `style`."""
    parts: list[tuple[str, str]] = [(sign, STYLE_OF_SIGN.get(sign, ""))]
    return Content.assemble(*parts, (f" {shown(text)}" if text else "", style))


def plain(text: str, style: str = "") -> Content:
    """Return foreign text as content that nothing parses."""
    return Content.styled(shown(text), style)


def plural(count: int, one: str, many: str = "") -> str:
    """Return a count with its noun: `1 problem`, `2 problems`, `1,200 programs`; `many` is an irregular plural."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def percent(share: float | None) -> str:
    """Return a share of problems in [0, 1] as percent with one decimal: `46.7 %`; None is `?`."""
    return UNKNOWN if share is None else f"{100 * share:.1f} %"


def rough_percent(share: float | None) -> str:
    """Return a share in [0, 1] as whole percent: `20 %`; None is `?`."""
    return UNKNOWN if share is None else f"{100 * share:.0f} %"


def points(difference: float) -> str:
    """Return a difference of shares in points with its sign: `+10.0`."""
    return f"{100 * difference:+.1f}"


def sign_of_interval(low: float, high: float) -> str:
    """Return the sign of a difference: better or worse only if its whole interval is on one side of 0."""
    return DONE if low > 0 else FAILED if high < 0 else NO_CHANGE


def duration(seconds: float) -> str:
    """Return a time that a person can plan with: `40 s`, `5 min`, `1 h 40 min`; hours from 90 minutes on."""
    if seconds < _MINUTE:
        return f"{max(1, round(seconds))} s"
    if seconds < _LONG:
        return f"{round(seconds / _MINUTE)} min"
    hours, minutes = divmod(round(seconds / _MINUTE), 60)
    if hours >= 24:
        return f"{hours / 24:.1f} days"
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def clock(seconds_from_now: float, now: float | None = None) -> str:
    """Return the local time of day that many seconds after `now`: `14:20`, or `Sat 02:10` if it is not today."""
    started = time.time() if now is None else now
    ends, today = time.localtime(started + seconds_from_now), time.localtime(started)
    return time.strftime("%H:%M" if ends.tm_yday == today.tm_yday else "%a %H:%M", ends)


def day(created_at_utc: str) -> str:
    """Return the date of a stored time without its seconds: `2026-01-01 00:00`."""
    return created_at_utc[:16].replace("T", " ")


def model_name(file_name: str) -> str:
    """Return a model's file name as people call it: without `.gguf`, and without the 64 digits of Ollama's files."""
    name = file_name.removesuffix(".gguf")
    return f"Ollama model {name[7:15]}" if name.startswith("sha256-") and len(name) > 60 else name
