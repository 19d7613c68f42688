"""The trainer fits its plan to the free memory: it unpacks weights, recomputes activations, or refuses."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from conself_local.errors import ConselfError
from conself_local.training.job import Forecast, TokenPair, TrainingJob
from conself_local.training.packing import Group
from conself_local.training.torch_backend import plan

pytestmark = pytest.mark.model

MIB = 2**20
PAIRS = (TokenPair((1,) * 100, (2,) * 51, (3,) * 51, 1.0), TokenPair((1,) * 200, (2,) * 101, (3,) * 101, 1.0))


class _Model:
    """The part of a model that the plan uses."""

    def __init__(self) -> None:
        self.recomputes = False

    def modules(self) -> list[Any]:
        return []

    def gradient_checkpointing_enable(self, **options: Any) -> None:
        self.recomputes = True

    def train(self) -> None:
        return None


def _plan(
    monkeypatch: pytest.MonkeyPatch, free: int, packed: float = 2.0, dense: float = 1.0
) -> tuple[Forecast, _Model, list[bool]]:
    """Plan a training run, and return the forecast, the model and every choice of dense weights.

    The probe of 256 tokens takes 100 MiB. The longest micro-batch holds 400 + 200 tokens, the longest pair alone 400.
    """
    model, unpacked = _Model(), [False]
    clock = itertools.accumulate(itertools.chain([0.0, packed, 0.0, dense]))
    monkeypatch.setattr(plan, "available_memory_bytes", lambda: free)
    monkeypatch.setattr(plan, "resident_bytes", lambda: 500 * MIB)
    monkeypatch.setattr(plan, "peak_bytes", lambda: 600 * MIB)
    monkeypatch.setattr(plan, "reset_peak", lambda: None)
    monkeypatch.setattr(plan, "dense_bytes", lambda model: 300 * MIB)
    monkeypatch.setattr(plan, "keep_dense", lambda model, dense: unpacked.append(dense))
    monkeypatch.setattr(plan, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    job = TrainingJob("m", "llama", None, PAIRS, 0, 0.1, 4, 8, 1e-3, 2, 2, 0.1, 1.0, 0.1, None, threads=1)

    def run(groups: Sequence[Group]) -> None:
        assert sum(g.size for g in groups) <= 256

    return plan.plan_training(job, model, run, MIB), model, unpacked


def test_with_enough_memory_the_faster_weights_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    planned, model, unpacked = _plan(monkeypatch, 4000 * MIB)
    assert (
        unpacked[-1] and not model.recomputes and "weights unpacked" in planned.summary and "about " in planned.summary
    )
    _, _, unpacked = _plan(monkeypatch, 4000 * MIB, packed=1.0, dense=2.0)
    assert not unpacked[-1]


def test_without_room_for_dense_weights_they_stay_packed(monkeypatch: pytest.MonkeyPatch) -> None:
    planned, model, unpacked = _plan(monkeypatch, 600 * MIB)
    assert unpacked == [False] and not model.recomputes and "in the file's blocks" in planned.summary


def test_without_room_for_activations_they_are_recomputed_and_then_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    planned, model, _ = _plan(monkeypatch, 250 * MIB)
    assert model.recomputes and "computed twice" in planned.summary
    with pytest.raises(ConselfError, match="are free") as refusal:
        _plan(monkeypatch, 80 * MIB)
    assert "max_tokens" in refusal.value.hint
