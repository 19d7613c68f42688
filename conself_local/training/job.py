"""What the trainer process is given: one JSON file with pairs as token ids, and the settings that matter to it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class TokenPair:
    prompt: tuple[int, ...]
    """The plain prompt; an answer prefix belongs to it."""
    chosen: tuple[int, ...]
    rejected: tuple[int, ...]
    weight: float


MEASURED_PAIRS = 32
"""How far the adapter moves log-probabilities is told from at most so many pairs."""
DISK_ADAPTERS = 10
"""What a run writes, in adapters: two checkpoints with two moments each, PEFT and GGUF here and where they are kept."""
PairLogps = tuple[float, float]
"""(chosen, rejected) of a pair: log-probabilities summed over tokens, nats."""


@dataclass(frozen=True)
class Forecast:
    """Of a training run, before its first step."""

    words: str
    peak_bytes: int | None
    """Of the trainer's memory; None where it is not known."""
    disk_bytes: int
    """Of checkpoints and adapter files; what a checkpoint is replaced by lies beside it for a moment."""


@dataclass(frozen=True)
class PairMetrics:
    """What one pair gave in one step."""

    loss: float
    """What is minimised: Con-DPO and the SFT term."""
    margin: float
    chosen_shift: float
    """Change of the chosen's log-probability against the reference, nats a token."""


@dataclass(frozen=True)
class TrainingJob:
    model_path: str
    architecture: str
    parent_adapter: str | None
    """A PEFT folder whose adapter is trained further; the reference is the model with it."""
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
    """Stop early when the chosen answers have lost so many nats a token, on average over half an epoch."""
    threads: int

    @property
    def steps_per_epoch(self) -> int:
        return -(-len(self.pairs) // self.batch_pairs)

    @property
    def steps(self) -> int:
        return self.steps_per_epoch * self.epochs

    def content_hash(self) -> str:
        """A checkpoint is gone on with only under the same hash; the number of threads does not count."""
        content = dataclasses.asdict(self) | {"threads": 0}
        return hashlib.sha256(b"job\0" + json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(dataclasses.asdict(self)))


def load_job(path: Path) -> TrainingJob:
    values: dict[str, Any] = json.loads(path.read_text())
    pairs = tuple(
        TokenPair(tuple(p["prompt"]), tuple(p["chosen"]), tuple(p["rejected"]), p["weight"])
        for p in values.pop("pairs")
    )
    return TrainingJob(**values, pairs=pairs)
