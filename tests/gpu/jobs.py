"""Make the training jobs of the checks, and train them; `python -m tests.gpu.jobs DEVICE FOLDER` trains one to be killed.

Pairs are random tokens: only their lengths matter here.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from conself_local.training.job import TokenPair, TrainingJob, load_job
from conself_local.training.torch_backend.backend import TorchBackend
from conself_local.training.torch_backend.devices import ComputeDevice
from conself_local.training.trainer import train
from tests.gpu.device import open_device

RANK = 16
KILLED_AFTER = 2
LEARNING_RATE = 1e-4


def make_job(model: Path, pairs: int, prompt: int, answer: int, epochs: int, batch_pairs: int) -> TrainingJob:
    """Return a job over pairs of a prompt and two answers of these numbers of tokens."""
    random = np.random.default_rng(7)

    def tokens(count: int) -> tuple[int, ...]:
        return tuple(int(n) for n in random.integers(3, 600, count))

    made = tuple(TokenPair(tokens(prompt), tokens(answer), tokens(answer), 1.0) for _ in range(pairs))
    return TrainingJob(
        str(model), "qwen2", None, made, 1, 0.1, RANK, 2 * RANK, LEARNING_RATE, epochs, batch_pairs, 0.1, 1.0, 0.1,
        None, threads=64,
    )  # fmt: skip


def train_job(
    job: TrainingJob,
    folder: Path,
    compute: ComputeDevice,
    on_report: Callable[[dict[str, Any]], None] = lambda report: None,
) -> list[dict[str, Any]]:
    """Train the job as the trainer process does, and return its reports."""
    reports: list[dict[str, Any]] = []

    def take(report: dict[str, Any]) -> None:
        reports.append(report)
        on_report(report)

    train(job, folder, TorchBackend(job, compute=compute), take)
    return reports


def _wait_to_be_killed(report: dict[str, Any]) -> None:
    """Print a report; after the second step, wait, so that the kill always comes between the same steps."""
    print(json.dumps(report), flush=True)
    if report.get("step") == KILLED_AFTER:
        time.sleep(600)


if __name__ == "__main__":
    _, device, target = sys.argv
    train_job(load_job(Path(target) / "job.json"), Path(target), open_device(device), _wait_to_be_killed)
