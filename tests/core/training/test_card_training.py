"""A run that saves memory, or that runs out of it in the middle, trains the same adapter.

On the processor, as on a card, with a model of random blocks; a lack of memory is simulated by the size of a
micro-batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from conself_local.adapters.formats import read_peft
from conself_local.errors import DeviceMemoryError
from conself_local.training.checkpoint import Progress
from conself_local.training.job import Forecast, TokenPair, TrainingJob
from conself_local.training.packing import group_of
from conself_local.training.torch_backend.backend import TorchBackend
from conself_local.training.torch_backend.devices import ComputeDevice, ProcessorMemory
from conself_local.training.trainer import train
from tests.fakes.tiny_model import write_tiny_model

pytestmark = pytest.mark.model

AS_CARD = ComputeDevice(torch.device("cpu"), torch.float32, ProcessorMemory(), as_card=True)
PAIRS = tuple(
    TokenPair((1, 5 + n, 9, 7), tuple(range(10 + n, 16 + n)), tuple(range(30 + n, 37 + n)), 0.8) for n in range(4)
)


class _SmallDevice(TorchBackend):
    """A device on which more than `most` tokens do not fit from step `since` on, until `fixes` measures are taken."""

    def __init__(self, job: TrainingJob, most: int = 10**6, since: int = 0, fixes: int = 0) -> None:
        super().__init__(job, compute=AS_CARD)
        self.most, self.since, self.fixes = most, since, fixes
        self.steps_done = 0
        self.measures: list[str] = []

    def plan(self, folder: Path) -> Forecast:
        return Forecast("not planned", None, 0)

    def _completion_logps(self, pairs: Sequence[TokenPair]) -> torch.Tensor:
        tokens = sum(group_of(pair).size for pair in pairs)
        lacks = self.steps_done >= self.since and (tokens > self.most or len(self.measures) < self.fixes)
        if lacks and torch.is_grad_enabled():
            super()._completion_logps(pairs).sum().backward()  # type: ignore[no-untyped-call]
            raise torch.OutOfMemoryError("simulated, with gradients that must not count")
        return super()._completion_logps(pairs)

    def step(self, learning_rate: float) -> float:
        self.steps_done += 1
        return super().step(learning_rate)

    def reduce_memory(self) -> str:
        self.measures.append(super().reduce_memory())
        return self.measures[-1]


def _job(tmp_path: Path) -> TrainingJob:
    path = tmp_path / "tiny.gguf"
    write_tiny_model(path, "qwen2")
    return TrainingJob(str(path), "qwen2", None, PAIRS, 3, 0.1, 4, 8, 1e-2, 2, 2, 0.1, 1.0, 0.1, None, threads=1)


def _train(backend: TorchBackend, job: TrainingJob, folder: Path) -> tuple[list[dict[str, Any]], Any]:
    reports: list[dict[str, Any]] = []
    train(job, folder, backend, reports.append)
    return reports, read_peft(folder / "adapter")


def _assert_same(one: Any, other: Any) -> None:
    for name, both in one.maps.items():
        for left, right in zip(both, other.maps[name], strict=True):
            assert float(abs(left - right).max()) < 1e-5, name


def test_out_of_memory_halves_the_micro_batch_and_continues_from_the_last_step(tmp_path: Path) -> None:
    job = _job(tmp_path)
    _, whole = _train(_SmallDevice(job), job, tmp_path / "whole")
    backend = _SmallDevice(job, most=20, since=2)
    reports, cut = _train(backend, job, tmp_path / "cut")
    assert [report["step"] for report in reports if "step" in report] == [1, 2, 3, 4]
    assert backend.measures == ["micro-batches hold at most 15 tokens"] and any("notice" in r for r in reports)
    _assert_same(whole, cut)


def test_with_single_pairs_activations_are_recomputed_and_the_state_leaves_the_device(tmp_path: Path) -> None:
    job = _job(tmp_path)
    _, whole = _train(_SmallDevice(job), job, tmp_path / "whole")
    backend = _SmallDevice(job, since=2, fixes=3)
    _, saved = _train(backend, job, tmp_path / "saved")
    assert [text.split()[0] for text in backend.measures] == ["micro-batches", "activations", "the"]
    assert backend._optimizer.is_in_main_memory
    _assert_same(whole, saved)


def test_if_nothing_is_left_the_run_ends_with_its_checkpoint(tmp_path: Path) -> None:
    job = _job(tmp_path)
    with pytest.raises(DeviceMemoryError, match="ran out on") as refusal:
        _train(_SmallDevice(job, most=0, since=1), job, tmp_path / "run")
    assert "CONSELF_TRAIN_ON=cpu" in refusal.value.hint
    backend = _SmallDevice(job)
    progress = backend.load(tmp_path / "run" / "checkpoint", job.content_hash())
    assert progress == Progress(1, job.content_hash(), progress.recent_shifts)


def test_a_state_in_main_memory_is_stored_and_loaded_like_any_other(tmp_path: Path) -> None:
    job = _job(tmp_path)
    _, whole = _train(_SmallDevice(job), job, tmp_path / "whole")
    backend = _SmallDevice(job, since=2, most=0)
    with pytest.raises(DeviceMemoryError):
        _train(backend, job, tmp_path / "cut")
    assert backend._optimizer.is_in_main_memory
    _, resumed = _train(_SmallDevice(job), job, tmp_path / "cut")
    _assert_same(whole, resumed)
