"""Describe one setting: what a person must know to change it, kept with the field of its dataclass.

Not covered: checking values (`check.py`).
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

METADATA_KEY = "setting"


@dataclass(frozen=True, kw_only=True)
class Range:
    """The numbers that a setting may have; a limit that is None does not exist."""

    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    below: float | None = None

    def contains(self, value: float) -> bool:
        """Return whether the number is within all limits."""
        return (
            (self.at_least is None or value >= self.at_least)
            and (self.above is None or value > self.above)
            and (self.at_most is None or value <= self.at_most)
            and (self.below is None or value < self.below)
        )

    def __str__(self) -> str:
        """Return the limits in words: `above 0, at most 1`."""
        limits = dataclasses.asdict(self).items()
        return ", ".join(f"{name.replace('_', ' ')} {limit}" for name, limit in limits if limit is not None)


@dataclass(frozen=True, kw_only=True)
class Description:
    """What a person must know about a setting to change it."""

    label: str
    """Its name on a form."""
    meaning: str
    """What it does, in one sentence."""
    unit: str
    """What its number counts or measures; empty for switches, choices and pure numbers."""
    allowed: Range
    """The numbers that are allowed; without limits for switches and choices."""
    time: str
    """What a change of it does to the time of a round."""
    reason: str
    """Why `laptop`, the default preset, has its value."""


@dataclass(frozen=True, kw_only=True)
class GroupDescription:
    """What a person must know about a group of settings."""

    label: str
    meaning: str
    shapes_samples: bool
    """Whether it decides what a round has before pairs are chosen: programs, behaviours, and answers of the base."""


def setting(
    default: Any,
    *,
    label: str,
    meaning: str,
    time: str,
    reason: str,
    unit: str = "",
    at_least: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
    below: float | None = None,
) -> Any:
    """Return the field of a setting; `default` is its value in the preset `paper`."""
    allowed = Range(at_least=at_least, above=above, at_most=at_most, below=below)
    described = Description(label=label, meaning=meaning, unit=unit, allowed=allowed, time=time, reason=reason)
    return dataclasses.field(default=default, metadata={METADATA_KEY: described})


def group(kind: type, *, label: str, shapes_samples: bool) -> Any:
    """Return the field of a group of settings in `Settings`; the docstring of its class says what it means."""
    described = GroupDescription(label=label, meaning=str(kind.__doc__), shapes_samples=shapes_samples)
    return dataclasses.field(default=kind(), metadata={METADATA_KEY: described})
