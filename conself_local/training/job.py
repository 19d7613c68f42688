"""Define the input of the trainer process, one JSON file with pairs as token ids and settings, and its results.

How pairs are chosen and how they are trained on is not decided here (`method/`, `trainer.py`).
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class TokenPair:
    """A preference pair as token ids."""

    prompt: tuple[int, ...]
    """The plain prompt, including the answer prefix if there is one."""
    chosen: tuple[int, ...]
    rejected: tuple[int, ...]
    weight: float
    """Factor of the pair's Con-DPO loss."""


MEASURED_PAIRS = 32
"""Maximum number of pairs on which the change of log-probabilities by the adapter is measured."""
DISK_ADAPTERS = 10
"""Disk space of a run, as a multiple of the adapter's size.

Two checkpoints of the adapter with two moments each (6), and its PEFT and GGUF files in the training folder and in the
folder of adapters (4).
"""
PairLogps = tuple[float, float]
"""(chosen, rejected) of a pair: log-probabilities in nats, summed over the tokens of the completion."""


@dataclass(frozen=True)
class Forecast:
    """The expected cost of a training run, before its first step."""

    summary: str
    """Time, memory and disk in a phrase for a person."""
    peak_bytes: int | None
    """Peak of the trainer's memory; None if it is not known."""
    disk_bytes: int
    """Disk space of checkpoints and adapter files; a new checkpoint exists beside the old one for a moment."""
    seconds: float | None = None
    """Time of all steps; None if it is not known."""


@dataclass(frozen=True)
class PairMetrics:
    """Metrics of one pair in one step."""

    loss: float
    """Con-DPO loss and SFT term, the sum that is minimised."""
    margin: float
    """beta * (chosen log-ratio - rejected log-ratio)."""
    chosen_shift: float
    """Change of the chosen completion's log-probability against the reference, nats per token."""


@dataclass(frozen=True)
class TrainingJob:
    """The pairs and settings of a training run."""

    model_path: str
    architecture: str
    parent_adapter: str | None
    """PEFT folder of an adapter to train further; the reference is the model with this adapter. None: a new adapter."""
    pairs: tuple[TokenPair, ...]
    seed: int
    beta: float
    lora_rank: int
    lora_alpha: int
    learning_rate: float
    epochs: int
    batch_pairs: int
    warmup_share: float
    max_gradient_norm: float
    sft_weight: float
    max_displacement: float | None
    """Nats per token that the chosen completions may lose, averaged over half an epoch, before an early stop."""
    threads: int
    context_tokens: int = 0
    """Context of a slot while programs were sampled, on which the positions of some models depend; 0: a short one."""

    @property
    def steps_per_epoch(self) -> int:
        """Optimiser steps per epoch; the last one may have fewer pairs than `batch_pairs`."""
        return -(-len(self.pairs) // self.batch_pairs)

    @property
    def steps(self) -> int:
        """Optimiser steps of all epochs."""
        return self.steps_per_epoch * self.epochs

    def content_hash(self) -> str:
        """Return a hash (32 hex digits) of everything but the number of threads.

        A run resumes only from a checkpoint with the same hash.
        """
        content = dataclasses.asdict(self) | {"threads": 0}
        return hashlib.sha256(b"job\0" + json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]

    def write(self, path: Path) -> None:
        """Write the job as JSON, for `load_job`."""
        path.write_text(json.dumps(dataclasses.asdict(self)))


def load_job(path: Path) -> TrainingJob:
    """Read a job that `TrainingJob.write` wrote."""
    values: dict[str, Any] = json.loads(path.read_text())
    pairs = tuple(
        TokenPair(tuple(p["prompt"]), tuple(p["chosen"]), tuple(p["rejected"]), p["weight"])
        for p in values.pop("pairs")
    )
    return TrainingJob(**values, pairs=pairs)
