"""The trainer fits its plan to the free memory: it unpacks weights, recomputes activations, or refuses.

The device is simulated through the interface that real devices have (`devices.DeviceMemory`): the processor of any
size, and graphics cards on which an allocation that does not fit fails.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace

import pytest
import torch

from conself_local.errors import ConselfError
from conself_local.training.job import TokenPair, TrainingJob
from conself_local.training.packing import Group
from conself_local.training.torch_backend import plan
from conself_local.training.torch_backend.plan import Choices, TrainingPlan

pytestmark = pytest.mark.model

MIB = 2**20
PAIRS = (TokenPair((1,) * 100, (2,) * 51, (3,) * 51, 1.0), TokenPair((1,) * 200, (2,) * 101, (3,) * 101, 1.0))


class _Device:
    """Memory, clock and model in one: what a micro-batch takes follows from its tokens, by a straight line.

    In MiB: 500 are used, `kept` per token with activations kept, a fifth of it if they are computed again, and `fixed`
    in any case. A second per 256 tokens and `unpacking` seconds per micro-batch pass while weights are packed.
    """

    def __init__(self, total: float, is_exact: bool, *, dense: float, unpacking: float, fixed: float) -> None:
        self.is_exact = is_exact
        self.recomputes = self.is_dense = self.is_offloaded = False
        self.largest_run = 0
        self._total, self._dense, self._unpacking, self._fixed = total, dense, unpacking, fixed
        self._peak, self.now = 0.0, 0.0
        self.adapter_bytes = 10 * MIB

    @property
    def dense_bytes(self) -> int:
        return int(self._dense * MIB)

    def _used(self) -> float:
        return 500 + (self._dense if self.is_dense else 0)

    def run(self, groups: Sequence[Group]) -> None:
        tokens = sum(group.size for group in groups)
        needed = self._fixed + tokens * (100 / 256) * (0.2 if self.recomputes else 1)
        if self.is_exact and self._used() + needed > self._total:
            raise torch.OutOfMemoryError
        self.largest_run = max(self.largest_run, tokens)
        self._peak = max(self._peak, self._used() + needed)
        self.now += tokens / 256 + (0 if self.is_dense else self._unpacking)

    def keep_dense(self, dense: bool) -> None:
        if dense and self.is_exact and self._used() + self._dense > self._total:
            raise torch.OutOfMemoryError
        self.is_dense = dense

    def recompute(self) -> None:
        self.recomputes = True

    def offload_optimizer(self) -> None:
        self.is_offloaded = True

    def free_bytes(self) -> int:
        return int((self._total - self._used()) * MIB)

    def used_bytes(self) -> int:
        return int(self._used() * MIB)

    def peak_bytes(self) -> int:
        return int(self._peak * MIB)

    def reset_peak(self) -> None:
        self._peak = self._used()

    def give_back(self) -> None:
        return None


def _plan(
    monkeypatch: pytest.MonkeyPatch,
    total: float,
    *,
    card: bool = False,
    dense: float = 300,
    unpacking: float = 1.0,
    fixed: float = 0.0,
    pairs: tuple[TokenPair, ...] = PAIRS,
    earlier: Choices | None = None,
) -> tuple[TrainingPlan, _Device]:
    """Plan a run; the longest micro-batch of 512 tokens is a pair of 400 alone, a larger one holds all 600 tokens."""
    device = _Device(total, card, dense=dense, unpacking=unpacking, fixed=fixed)
    monkeypatch.setattr(plan, "time", SimpleNamespace(perf_counter=lambda: device.now))
    job = TrainingJob("m", "llama", None, pairs, 0, 0.1, 4, 8, 1e-3, 2, 2, 0.1, 1.0, 0.1, None, threads=1)
    return plan.plan_training(job, device, device, "a card" if card else "the processor", earlier), device


def test_with_enough_memory_the_faster_weights_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    planned, device = _plan(monkeypatch, 4500)
    summary = planned.forecast.summary
    assert device.is_dense and not device.recomputes and "weights unpacked" in summary and "about " in summary
    _, device = _plan(monkeypatch, 4500, unpacking=-0.5)
    assert not device.is_dense


def test_without_room_for_dense_weights_they_stay_packed(monkeypatch: pytest.MonkeyPatch) -> None:
    planned, device = _plan(monkeypatch, 1100)
    assert not device.is_dense and not device.recomputes and "in the file's blocks" in planned.forecast.summary


def test_without_room_for_activations_they_are_recomputed_and_then_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    planned, device = _plan(monkeypatch, 750)
    assert device.recomputes and "computed twice" in planned.forecast.summary
    with pytest.raises(ConselfError, match="are free") as refusal:
        _plan(monkeypatch, 580)
    assert "max_tokens" in refusal.value.hint and "CONSELF_TRAIN_ON" not in refusal.value.hint


def test_on_the_processor_only_a_short_micro_batch_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Running out of main memory is fatal, and the machine is unusable long before."""
    _, device = _plan(monkeypatch, 4500)
    assert device.largest_run <= 256


@pytest.mark.parametrize(
    "total, recomputes, is_offloaded, is_dense, tokens",
    [
        (2000, False, False, True, 2048),
        (1100, False, False, False, 2048),
        (720, False, False, False, 512),
        (610, True, False, False, 2048),
        (565, True, False, False, 512),
        (545, True, True, False, 512),
    ],
)
def test_a_card_of_a_size_gets_its_plan(
    monkeypatch: pytest.MonkeyPatch, total: float, recomputes: bool, is_offloaded: bool, is_dense: bool, tokens: int
) -> None:
    """The smaller the card, the more is saved; the forecast is what the run will take, because it was measured."""
    planned, device = _plan(monkeypatch, total, card=True, fixed=3)
    found = (device.recomputes, device.is_offloaded, device.is_dense, planned.choices.micro_batch_tokens)
    assert found == (recomputes, is_offloaded, is_dense, tokens)
    longest = 600 if tokens == 2048 else 400
    activations = 3 + longest * (100 / 256) * (0.2 if recomputes else 1)
    expected = 500 + activations + (0 if is_offloaded else 20) + (300 if is_dense else 0)
    assert planned.forecast.peak_bytes == pytest.approx(expected * MIB, rel=0.01)
    assert expected < total


def test_dense_weights_that_are_no_faster_or_do_not_fit_twice_are_not_kept_on_a_card(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _, device = _plan(monkeypatch, 2000, card=True, unpacking=-0.5)
    assert not device.is_dense
    _, device = _plan(monkeypatch, 1400, card=True)
    assert not device.is_dense, "they fit once, not twice"


def test_a_card_that_is_too_small_is_refused_with_what_would_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConselfError, match=r"400 tokens at once on a card does not fit: 0\.0 GiB are free") as refusal:
        _plan(monkeypatch, 520, card=True)
    assert "smaller model" in refusal.value.hint and "CONSELF_TRAIN_ON=cpu" in refusal.value.hint
    with pytest.raises(ConselfError, match="needs about") as refusal:
        _plan(monkeypatch, 534, card=True)
    fitting = int(refusal.value.hint.split("at most ")[1].split(" tokens")[0])
    assert 300 < fitting < 400
    shorter = (TokenPair((1,) * (fitting - 100), (2,) * 51, (3,) * 51, 1.0),)
    _, device = _plan(monkeypatch, 534, card=True, pairs=shorter)
    assert device.is_offloaded, "what the refusal names does fit"


@pytest.mark.parametrize("card", [False, True])
def test_a_resumed_run_keeps_what_it_began_with(card: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Timings differ from start to start; other choices are rounded differently, and the resume would not be exact."""
    for earlier, unpacking in ((Choices(512, False), 1.0), (Choices(512, True), -0.5), (Choices(200, True), 1.0)):
        planned, device = _plan(monkeypatch, 4500, card=card, unpacking=unpacking, earlier=earlier)
        assert planned.choices == earlier and device.is_dense == earlier.is_dense
    planned, _ = _plan(monkeypatch, 610, card=True, fixed=3, earlier=Choices(2048, True))
    assert planned.choices == Choices(2048, False), "what does not fit any more is given up"
