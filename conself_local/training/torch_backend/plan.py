"""Plan a training run on a CPU from timed micro-batches: weights packed or dense, activations kept or recomputed.

The first micro-batch is short and its memory is measured, so that a run that does not fit is refused before the machine
runs out of memory. The choices change time and memory, never the result. Not covered: the memory of a GPU.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from conself_local.errors import ConselfError
from conself_local.machine.process_memory import give_back_freed, peak_bytes, reset_peak, resident_bytes
from conself_local.machine.resources import available_memory_bytes
from conself_local.machine.room import gib
from conself_local.training.job import DISK_ADAPTERS, MEASURED_PAIRS, Forecast, TrainingJob
from conself_local.training.packing import MICRO_BATCH_TOKENS, Group, group_of, micro_batches
from conself_local.training.torch_backend.packed_linear import dense_bytes, keep_dense

_PROBE_TOKENS = 256
_FRAGMENTATION = 1.5
"""Ratio of the peak of a run to the memory of a single micro-batch: sequences of different lengths fragment the heap.

Fitted to measured peaks (`tests/benchmarks/training_scaling.py`).
"""
_FORWARD_SHARE = 0.4
"""Share of the forward pass in the time of forward and backward together."""
_USABLE_SHARE = 0.8
"""Share of the free memory that a plan may use."""
_CHECKPOINTED_SHARE = 0.3
"""Share of the activations that is kept if they are recomputed in the backward pass (about a third more time)."""


def plan_training(
    job: TrainingJob, model: Any, run: Callable[[Sequence[Group]], object], adapter_bytes: int
) -> Forecast:
    """Time `run` (forward and backward of one micro-batch) with packed and dense weights, and apply the faster way.

    Returns the expected time, peak memory and disk space. Raises ConselfError if the longest micro-batch does not fit
    the free memory even with recomputed activations.
    """
    everything = range(len(job.pairs))
    sizes = sorted(group_of(pair).size for pair in job.pairs)
    longest = max(
        sum(group_of(job.pairs[i]).size for i in part)
        for part in micro_batches(job.pairs, everything, MICRO_BATCH_TOKENS)
    )
    probe = _probe_groups(job)
    probed = sum(group.size for group in probe)
    free = available_memory_bytes()
    run(probe)  # this first run includes one-time costs
    give_back_freed()
    before = resident_bytes()
    reset_peak()
    packed_seconds = _timed(run, probe)
    activations = _FRAGMENTATION * max(0, peak_bytes() - before) * longest / probed
    room = float("inf") if free is None else free * _USABLE_SHARE - 4 * adapter_bytes
    checkpointing = activations > room
    if checkpointing:
        activations *= _CHECKPOINTED_SHARE
    if activations > room:
        raise ConselfError(
            f"training on {sizes[-1]} tokens at once needs about {gib(int(activations))} more, "
            f"and {gib(free or 0)} are free",
            "close other programs, train a smaller model, or lower max_tokens so that the longest pairs are excluded",
        )
    dense, seconds = False, packed_seconds
    if dense_bytes(model) + activations <= room:
        keep_dense(model, True)
        run(probe)
        dense_seconds = _timed(run, probe)
        dense = dense_seconds < packed_seconds
        seconds = min(dense_seconds, packed_seconds)
        keep_dense(model, dense)
    if checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        model.train()
        seconds *= 1 + _FORWARD_SHARE
    seconds_per_token = seconds / probed
    measured = sum(sizes) * min(1.0, MEASURED_PAIRS / len(sizes))
    token_passes = sum(sizes) * (job.epochs + _FORWARD_SHARE) + measured * _FORWARD_SHARE
    peak = before + int(activations) + 3 * adapter_bytes + (dense_bytes(model) if dense else 0)
    weights = "weights unpacked" if dense else "weights left in the file's blocks"
    recomputed = ", activations computed twice to save memory" if checkpointing else ""
    disk = DISK_ADAPTERS * adapter_bytes
    total = seconds_per_token * token_passes
    duration = f"{total:.0f} s" if total < 90 else f"{total / 60:.0f} min"
    summary = f"about {duration}, {gib(peak)} of memory and {disk >> 20} MiB of disk; {weights}{recomputed}"
    return Forecast(summary, peak, disk)


def _probe_groups(job: TrainingJob) -> list[Group]:
    """Return copies of the pair of median length, cut to a safe size: about _PROBE_TOKENS together."""
    pair = sorted(job.pairs, key=lambda p: group_of(p).size)[len(job.pairs) // 2]
    quarter = _PROBE_TOKENS // 4
    group = Group(pair.prompt[-2 * quarter :], (pair.chosen[:quarter], pair.rejected[:quarter]))
    return [group] * max(1, _PROBE_TOKENS // group.size)


def _timed(run: Callable[[Sequence[Group]], object], probe: Sequence[Group]) -> float:
    """Return the seconds that one call of `run` takes."""
    started = time.perf_counter()
    run(probe)
    return time.perf_counter() - started
