"""Plan a training run from timed and measured micro-batches: what fits the memory of the device, and is fastest there.

Weights stay in blocks or are unpacked once, activations are kept or computed again, the optimiser's state is on the
device or in main memory: the choices change time and memory, and on a card how sums are rounded, nothing else. On the
processor memory is found by its resident pages, and running out of it is fatal: a short micro-batch is scaled up with a
reserve. On a card every allocation is counted, and one that does not fit does no harm: the longest micro-batch itself
is measured. Not covered: memory that other programs take later (`TorchBackend.reduce_memory`).
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from conself_local.errors import ConselfError
from conself_local.machine.gpu import CHOICE
from conself_local.machine.room import gib
from conself_local.training.job import DISK_ADAPTERS, MEASURED_PAIRS, Forecast, TrainingJob
from conself_local.training.packing import MICRO_BATCH_TOKENS, Group, group_of, micro_batches
from conself_local.training.torch_backend.devices import DeviceMemory

_PROBE_TOKENS = 256
_FRAGMENTATION = 1.5
"""Ratio of the peak of a run to the memory of a single micro-batch: sequences of different lengths fragment the heap.

Fitted to measured peaks on the processor (`tests/benchmarks/training_scaling.py`).
"""
_FORWARD_SHARE = 0.4
"""Share of the forward pass in the time of forward and backward together."""
_USABLE_SHARE, _USABLE_SHARE_OF_CARD = 0.8, 0.9
"""Share of the free memory that a plan may use."""
_CHECKPOINTED_SHARE = 0.3
"""Share of the activations that is kept on the processor if they are computed again (about a third more time)."""
_LARGER_MICRO_BATCHES = (4, 2, 1)
"""Multiples of MICRO_BATCH_TOKENS that a card may take: it unpacks the weights once per micro-batch."""


class Trainee(Protocol):
    """What a plan measures and sets (`trainee.TorchTrainee`)."""

    @property
    def adapter_bytes(self) -> int:
        """Bytes of the adapter's weights."""

    @property
    def dense_bytes(self) -> int:
        """Bytes that dense weights take beside the blocks."""

    def run(self, groups: Sequence[Group]) -> None:
        """Compute forward and backward of one micro-batch."""

    def keep_dense(self, dense: bool) -> None:
        """Unpack all weights permanently, or release that memory."""

    def recompute(self) -> None:
        """Compute activations again in the backward pass."""

    def offload_optimizer(self) -> None:
        """Keep the state of the optimiser in main memory."""


@dataclass(frozen=True)
class Choices:
    """What changes the rounding of a run, on a card: a resumed run keeps it."""

    micro_batch_tokens: int
    is_dense: bool


@dataclass(frozen=True)
class TrainingPlan:
    """The forecast of a run, and what was chosen."""

    forecast: Forecast
    choices: Choices


@dataclass(frozen=True)
class Cost:
    """What a micro-batch of a number of tokens takes beside the weights: a constant and a part per token."""

    fixed_bytes: float
    token_bytes: float
    fixed_seconds: float
    token_seconds: float

    def bytes(self, tokens: int) -> float:
        """Return the bytes for this number of tokens."""
        return self.fixed_bytes + self.token_bytes * tokens

    def seconds(self, tokens: int) -> float:
        """Return the seconds per token in a micro-batch of this size."""
        return self.fixed_seconds / tokens + self.token_seconds

    def tokens_within(self, room: float) -> int:
        """Return the largest number of tokens that fits."""
        return max(0, int((room - self.fixed_bytes) / max(self.token_bytes, 1e-9)))


@dataclass(frozen=True)
class _Level:
    """A way to save memory; each level includes those before it."""

    recomputes: bool
    offloads: bool
    description: str


_LEVELS = (
    _Level(False, False, ""),
    _Level(True, False, ", activations computed twice to save memory"),
    _Level(True, True, ", activations computed twice and the optimiser's state in main memory, to save memory"),
)


def plan_training(
    job: TrainingJob,
    trainee: Trainee,
    memory: DeviceMemory,
    device_name: str,
    earlier: Choices | None = None,
) -> TrainingPlan:
    """Measure `trainee.run`, and use the first level that fits, with dense weights if they fit and are faster.

    earlier: what the run began with. It is kept as far as it fits, because other choices are rounded differently.
    Raises ConselfError if the longest micro-batch does not fit the free memory in any way.
    """
    planner = _Planner(job, trainee, memory, earlier)
    level, cost = planner.choose_level(device_name)
    tokens, cost = planner.choose_micro_batch(cost, planner.room(level))
    longest = planner.longest_tokens(tokens)
    dense, speed_up = planner.try_dense(cost.bytes(longest), planner.room(level))
    if level.recomputes and not memory.is_exact:
        trainee.recompute()  # only now, so that packed and dense weights were timed alike
    memory.give_back()
    memory.reset_peak()
    seconds = cost.seconds(longest) * speed_up
    peak = planner.before + int(cost.bytes(longest)) + planner.optimizer_bytes(level, 3)
    peak += trainee.dense_bytes if dense else 0
    weights = "weights unpacked" if dense else "weights left in the file's blocks"
    disk = DISK_ADAPTERS * trainee.adapter_bytes
    expected_s = seconds * _token_passes(job)
    duration = _duration(expected_s)
    where = f" on {device_name}" if memory.is_exact else ""
    summary = f"about {duration}{where}, {gib(peak)} of memory and {disk >> 20} MiB of disk; {weights}"
    return TrainingPlan(Forecast(summary + level.description, peak, disk, expected_s), Choices(tokens, dense))


class _Planner:
    """The measurements of a plan."""

    def __init__(self, job: TrainingJob, trainee: Trainee, memory: DeviceMemory, earlier: Choices | None) -> None:
        self._job, self._trainee, self._memory, self._earlier = job, trainee, memory, earlier
        self._free = memory.free_bytes()
        self._probe = _probe_groups(job, _PROBE_TOKENS)
        self._packed_seconds = 0.0
        self._tokens = min(MICRO_BATCH_TOKENS, earlier.micro_batch_tokens if earlier else MICRO_BATCH_TOKENS)
        self.before = memory.used_bytes()

    def longest_tokens(self, tokens: int) -> int:
        """Return the tokens of the longest micro-batch, if they hold at most `tokens` unless one pair has more."""
        return _size(self._longest(tokens))

    def _longest(self, tokens: int) -> list[Group]:
        pairs = self._job.pairs
        parts = micro_batches(pairs, range(len(pairs)), tokens)
        return max(([group_of(pairs[i]) for i in part] for part in parts), key=_size)

    def optimizer_bytes(self, level: _Level, on_processor: int) -> int:
        """Return the bytes of gradients and state that are not in the cost of a micro-batch.

        `on_processor` counts them in adapters there; on a card, a micro-batch was measured with its gradients.
        """
        adapters = on_processor if not self._memory.is_exact else 0 if level.offloads else 2
        return adapters * self._trainee.adapter_bytes

    def room(self, level: _Level) -> float:
        """Return the bytes that a micro-batch may take."""
        if self._free is None:
            return float("inf")
        share = _USABLE_SHARE_OF_CARD if self._memory.is_exact else _USABLE_SHARE
        return self._free * share - self.optimizer_bytes(level, 4)

    def choose_level(self, device_name: str) -> tuple[_Level, Cost]:
        """Return the first level at which the longest micro-batch fits, and its cost; on a card, the level is set.

        Raises ConselfError if there is none.
        """
        cost: Cost | None = None
        longest = self.longest_tokens(self._tokens)
        for level in _LEVELS if self._memory.is_exact else _LEVELS[:2]:
            if self._memory.is_exact:
                if level.offloads:
                    self._trainee.offload_optimizer()
                elif level.recomputes:
                    self._trainee.recompute()
                cost = self._measure_exactly(self._tokens)
            else:
                cost = _recomputed(cost) if cost else self._measure_resident()
            if cost and cost.bytes(longest) <= self.room(level):
                return level, cost
        raise self._refusal(cost, longest, device_name)

    def choose_micro_batch(self, cost: Cost, room: float) -> tuple[int, Cost]:
        """Return the size of micro-batches and their cost: on a card, the largest that fits."""
        for factor in _LARGER_MICRO_BATCHES if self._memory.is_exact else ():
            size = factor * MICRO_BATCH_TOKENS
            if self._earlier and size > self._earlier.micro_batch_tokens:
                continue
            longest = self.longest_tokens(size)
            if longest > self.longest_tokens(MICRO_BATCH_TOKENS) and cost.bytes(longest) <= room:
                larger = self._measure_exactly(size)
                if larger and larger.bytes(longest) <= room:
                    return size, larger
        return self._tokens, cost

    def try_dense(self, activations: float, room: float) -> tuple[bool, float]:
        """Unpack the weights if they fit, on a card twice; return whether they stay, and the share of the time left."""
        needed = self._trainee.dense_bytes * (2 if self._memory.is_exact else 1)
        if not needed or needed + activations > room or (self._earlier and not self._earlier.is_dense):
            return False, 1.0
        dense_seconds = self._seconds_with_dense()
        dense = dense_seconds < (float("inf") if self._earlier else self._packed_seconds)
        if not dense:
            self._trainee.keep_dense(False)
        return dense, min(1.0, dense_seconds / self._packed_seconds)

    def _seconds_with_dense(self) -> float:
        try:
            self._trainee.keep_dense(True)
            self._trainee.run(self._probe)
            return self._timed(self._probe)[1]
        except torch.OutOfMemoryError as error:
            traceback.clear_frames(error.__traceback__)
            return float("inf")

    def _measure_resident(self) -> Cost:
        self._trainee.run(self._probe)  # this first run includes one-time costs
        self._memory.give_back()
        self.before = self._memory.used_bytes()
        peak, self._packed_seconds = self._timed(self._probe)
        tokens = _size(self._probe)
        return Cost(0.0, _FRAGMENTATION * peak / tokens, 0.0, self._packed_seconds / tokens)

    def _measure_exactly(self, tokens: int) -> Cost | None:
        """Return the cost by the longest micro-batch and by a short one; None if they do not fit."""
        long = self._longest(tokens)
        short = _probe_groups(self._job, _size(long) // 4)
        more = max(1, _size(long) - _size(short))
        try:
            self._trainee.run(short)
            low, low_seconds = self._timed(short)
            high, seconds = self._timed(long)
        except torch.OutOfMemoryError as error:
            traceback.clear_frames(error.__traceback__)  # they keep the activations
            self._memory.give_back()
            return None
        self._probe, self._packed_seconds = long, seconds
        token_bytes, token_seconds = max(0.0, (high - low) / more), max(0.0, (seconds - low_seconds) / more)
        return Cost(high - token_bytes * _size(long), token_bytes, seconds - token_seconds * _size(long), token_seconds)

    def _timed(self, groups: Sequence[Group]) -> tuple[int, float]:
        """Run a micro-batch; return the bytes that it took at its peak, and its seconds."""
        before = self._memory.used_bytes()
        self._memory.reset_peak()
        started = time.perf_counter()
        self._trainee.run(groups)
        return max(0, self._memory.peak_bytes() - before), time.perf_counter() - started

    def _refusal(self, cost: Cost | None, longest: int, device_name: str) -> ConselfError:
        level = _LEVELS[-1]
        free = gib(self._free or 0)
        fits = cost.tokens_within(self.room(level)) if cost else 0
        needed = f"needs about {gib(int(cost.bytes(longest)))} more, and" if cost else "does not fit:"
        hints = ["close other programs", "train a smaller model"]
        if fits:
            hints.append(f"lower max_tokens: pairs of at most {fits} tokens, prompt and both answers, would fit")
        if self._memory.is_exact:
            hints.append(f"train on the processor ({CHOICE}=cpu)")
        return ConselfError(
            f"training on {longest} tokens at once on {device_name} {needed} {free} are free", ", or ".join(hints)
        )


def _size(groups: Sequence[Group]) -> int:
    return sum(group.size for group in groups)


def _recomputed(cost: Cost) -> Cost:
    """Return the cost on the processor if activations are computed again, without a measurement."""
    return Cost(0.0, cost.token_bytes * _CHECKPOINTED_SHARE, 0.0, cost.token_seconds * (1 + _FORWARD_SHARE))


def _token_passes(job: TrainingJob) -> float:
    """Return the tokens of the run in forward and backward passes, those without a gradient by their share of time."""
    total = sum(group_of(pair).size for pair in job.pairs)
    measured = total * min(1.0, MEASURED_PAIRS / len(job.pairs))
    return total * (job.epochs + _FORWARD_SHARE) + measured * _FORWARD_SHARE


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def _probe_groups(job: TrainingJob, tokens: int) -> list[Group]:
    """Return copies of the pair of median length, cut to a safe size: about `tokens` together."""
    pair = sorted(job.pairs, key=lambda p: group_of(p).size)[len(job.pairs) // 2]
    quarter = max(1, tokens // 4)
    group = Group(pair.prompt[-2 * quarter :], (pair.chosen[:quarter], pair.rejected[:quarter]))
    return [group] * max(1, tokens // group.size)
