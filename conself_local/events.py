"""What the stages report while they work: one channel, `on_event(Event)`, frozen values.

The CLI draws progress bars from them, the TUI posts them as messages; the stages know neither.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class StageStarted:
    """A stage begins, `done` of `total` items being stored already (a round that goes on)."""

    stage: str
    done: int
    total: int


@dataclass(frozen=True)
class ItemStored:
    """One item of a stage has been stored."""

    stage: str
    done: int
    total: int
    note: str = ""


@dataclass(frozen=True)
class StageDone:
    stage: str
    summary: str
    """One sentence for a person."""


@dataclass(frozen=True)
class StepDone:
    """One optimiser step of the trainer."""

    step: int
    steps: int
    loss: float
    """Con-DPO and the SFT term, mean over the step's pairs."""
    margin: float
    """beta * (chosen log-ratio - rejected log-ratio), mean over the step's pairs."""
    reward_accuracy: float
    """Share of pairs whose margin is positive."""
    chosen_logp_shift: float
    """Mean change, in nats a token, of the chosen completions' log-probability against the reference."""
    learning_rate: float
    gradient_norm: float
    memory_bytes: int
    seconds: float


@dataclass(frozen=True)
class Notice:
    """Something a person should read."""

    text: str


Event = StageStarted | ItemStored | StageDone | StepDone | Notice
OnEvent = Callable[[Event], None]


def ignore_events(event: Event) -> None:
    """An `on_event` for callers that do not watch."""
    del event
