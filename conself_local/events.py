"""Define the events that the stages report while they work, through one callback: `on_event(event)`.

The command line draws progress bars from the events, and the TUI posts them as messages; the stages know neither.
Not covered: diagnostics for developers, which go to `logging`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class StageStarted:
    """A stage begins; `done` of its `total` items are stored already, if the round was interrupted before."""

    stage: str
    done: int
    total: int


@dataclass(frozen=True)
class ItemStored:
    """One item of a stage has been stored: `done` of `total` so far."""

    stage: str
    done: int
    total: int
    note: str = ""
    """A few words about the item for display, such as a problem id."""


@dataclass(frozen=True)
class StageDone:
    """A stage has ended."""

    stage: str
    summary: str
    """The result of the stage in one sentence for the user."""


@dataclass(frozen=True)
class StepDone:
    """One optimiser step of the trainer has been made."""

    step: int
    """Number of the step, from 1."""
    steps: int
    """Number of planned steps; training may stop earlier."""
    loss: float
    """Con-DPO loss plus the SFT term, mean over the step's pairs."""
    margin: float
    """beta * (chosen log-ratio - rejected log-ratio), mean over the step's pairs."""
    reward_accuracy: float
    """Share of the step's pairs whose margin is positive, in [0, 1]."""
    chosen_logp_shift: float
    """Change of the chosen completions' log-probability against the reference, nats per token, mean over the pairs."""
    learning_rate: float
    """Learning rate of this step, after warm-up and decay."""
    gradient_norm: float
    """L2 norm of the gradient before clipping."""
    memory_bytes: int
    """Peak resident memory of the trainer process."""
    seconds: float
    """Wall time of the step."""


@dataclass(frozen=True)
class Notice:
    """A message that the user should read."""

    text: str


Event = StageStarted | ItemStored | StageDone | StepDone | Notice
OnEvent = Callable[[Event], None]
"""The callback through which a stage reports."""


def ignore_events(event: Event) -> None:
    """Ignore the event: the `on_event` of callers that do not watch."""
    del event
