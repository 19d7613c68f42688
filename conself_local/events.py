"""Define the events that the stages report while they work, through one callback: `on_event(event)`.

The command line draws progress bars from the events; the stages do not know it. Notices are also kept in the store
(`round/recorder.py`), for `conself log` and the screens.
Not covered: the thresholds of the warnings (`training/diagnostics.py`), and logs (`machine/`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Literal


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


Severity = Literal["notice", "warning"]
"""A warning asks the user to look or to act; a notice only informs."""
Repeats = Literal["each", "once", "latest"]
"""What is stored if a kind comes again in the same stage of the same round, as after a restart.

`each`: one more event; `once`: one more event only if its text is new; `latest`: the new text replaces the old one.
"""


START = "start"
"""The stage of notices that come before the first stage, or that are about all of them."""


class NoticeKind(Enum):
    """What a notice is about. The label is stored and printed, so it never changes."""

    BATTERY = "battery", "warning", "latest"
    HEAT = "heat", "warning", "each"
    SANDBOX_WEAKER = "sandbox-weaker", "warning", "latest"
    SANDBOX_RESTARTED = "sandbox-restarted", "warning", "each"
    ENGINE = "engine", "notice", "latest"
    NOT_TUNED = "not-tuned", "notice", "latest"
    ENGINE_RESTARTED = "engine-restarted", "warning", "each"
    SERVER_LEFT_OUT = "server-left-out", "warning", "once"
    EVALUATED_HERE = "evaluated-here", "notice", "latest"
    WEIGHTS_GAP = "weights-gap", "notice", "latest"
    LAYER_IGNORED = "layer-ignored", "notice", "once"
    PROBLEMS_EXCLUDED = "problems-excluded", "notice", "latest"
    ANSWERS_KNOWN = "answers-known", "notice", "latest"
    PAIRS_LEFT_OUT = "pairs-left-out", "notice", "latest"
    PAIRS_FILE = "pairs-file", "notice", "latest"
    CARD_RELEASED = "card-released", "notice", "latest"
    TRAINING_FORECAST = "training-forecast", "notice", "latest"
    MEMORY_REDUCED = "memory-reduced", "warning", "each"
    DISPLACEMENT = "displacement", "warning", "latest"
    STOPPED_EARLY = "stopped-early", "warning", "latest"
    OVERFITTING = "overfitting", "warning", "latest"
    UNDERFITTING = "underfitting", "warning", "latest"
    LENGTH_DRIFT = "length-drift", "warning", "latest"
    LARGE_GRADIENTS = "large-gradients", "warning", "latest"
    BENCH = "bench", "notice", "each"
    EXPERIMENT = "experiment", "notice", "each"

    def __init__(self, label: str, severity: Severity, repeats: Repeats) -> None:
        self.label = label
        self.severity: Severity = severity
        self.repeats: Repeats = repeats


@dataclass(frozen=True)
class Notice:
    """A message that the user should read."""

    text: str
    kind: NoticeKind
    stage: str = ""
    """The stage that it is about; empty: the one that runs."""


Event = StageStarted | ItemStored | StageDone | StepDone | Notice
OnEvent = Callable[[Event], None]
"""The callback through which a stage reports."""


def ignore_events(event: Event) -> None:
    """Ignore the event: the `on_event` of callers that do not watch."""
    del event
