"""Train an adapter from a job: `python -m conself_local.training.trainer FOLDER` prints one JSON line per report.

FOLDER holds `job.json`; checkpoints and, at the end, `adapter/` (PEFT) and `adapter.gguf` or, for a folder of MLX
weights, `mlx/` are written there. Log-probabilities of the reference are computed once, before the first step, and
stored in `reference.json`. The model and its arithmetic are a `Backend`: MLX for folders of MLX weights and on Apple
Silicon, else torch; the loop is the same for both.
Covered: exact resume from the last step's checkpoint; a stop at the first loss or gradient norm that is not finite; an
early stop; heartbeats from within the computation, so that a hang is noticed; if a card's memory runs out, smaller
micro-batches from the last step on. Not covered: the decision whether the adapter is better (`evaluation/`).
"""

from __future__ import annotations

import json
import math
import os
import platform
import random
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, Protocol

from conself_local.adapters.formats import Adapter, write_peft
from conself_local.adapters.native import write_native
from conself_local.errors import ConselfError, DeviceMemoryError
from conself_local.machine.child_pipe import Heartbeat
from conself_local.machine.mlx import verify_mlx
from conself_local.machine.room import verify_disk
from conself_local.model_files.model import Model
from conself_local.training.checkpoint import Progress
from conself_local.training.diagnostics import displacement_window, is_displaced
from conself_local.training.job import (
    MEASURED_PAIRS,
    Forecast,
    PairLogps,
    PairMetrics,
    TokenPair,
    TrainingJob,
    load_job,
)
from conself_local.training.packing import micro_batches

Report = Callable[[dict[str, Any]], object]


class Backend(Protocol):
    """The model with a LoRA adapter, its optimiser, and the computation of one micro-batch of pairs."""

    @property
    def model_file(self) -> Model:
        """The model that is trained."""

    @property
    def micro_batch_tokens(self) -> int:
        """Maximum tokens of a micro-batch; `plan` and `reduce_memory` may change it."""

    def plan(self, folder: Path) -> Forecast:
        """Return the expected cost of the run; raise ConselfError if it does not fit the memory.

        What was chosen may be stored in `folder`, so that a resumed run computes alike.
        """

    def reduce_memory(self) -> str:
        """Forget the gradients, use less memory from now on, and return how; an empty text if nothing is left to do.

        Called after a DeviceMemoryError of the other methods.
        """

    def peak_bytes(self) -> int:
        """Return the peak of the memory of the device that trains."""

    def completion_logps(self, pairs: Sequence[TokenPair]) -> list[PairLogps]:
        """Return (chosen, rejected) log-probabilities per pair under the current adapter, without a gradient.

        In nats, summed over the tokens of the completion.
        """

    def backward(self, pairs: Sequence[TokenPair], references: Sequence[PairLogps], share: float) -> list[PairMetrics]:
        """Accumulate the gradient of `share` times the sum of the pairs' losses, and return the metrics of each pair.

        `references` holds the reference's log-probabilities in the order of the pairs, in nats.
        """

    def step(self, learning_rate: float) -> float:
        """Take one AdamW step with the accumulated gradients, clipped by their norm, and reset them.

        Returns the gradient norm before clipping.
        """

    def save(self, folder: Path, progress: Progress) -> None:
        """Replace the checkpoint in `folder` by the adapter, the state of the optimiser and the progress."""

    def load(self, folder: Path, job_hash: str) -> Progress:
        """Restore the checkpoint in `folder` if it is of this job, and return its progress; else return step 0."""

    def adapter(self) -> Adapter:
        """Return the current LoRA weights."""


def main() -> None:
    """Train the job in the folder that the command line names; an end of standard input ends the process.

    A ConselfError is printed as a JSON line with `error` and `hint`.
    """
    folder = Path(sys.argv[1])
    channel = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    try:
        job = load_job(folder / "job.json")
        backend = open_backend(job, Heartbeat(channel))
        train(job, folder, backend, lambda event: print(json.dumps(event), file=channel, flush=True))
    except ConselfError as error:
        print(json.dumps({"error": error.message, "hint": error.hint}), file=channel, flush=True)


def _exit_with_parent() -> None:
    sys.stdin.read()
    os._exit(1)


def open_backend(job: TrainingJob, on_progress: Callable[[], None] = lambda: None) -> Backend:
    """Return the backend that trains the model; it calls `on_progress` as it computes.

    A folder of MLX weights trains with MLX everywhere, a GGUF file on Apple Silicon, and elsewhere with torch. Raises
    ConselfError if MLX is needed and not installed.
    """
    if Path(job.model_path).is_dir() or (platform.system() == "Darwin" and platform.machine() == "arm64"):
        verify_mlx()
        from conself_local.training.mlx_backend import MlxBackend

        return MlxBackend(job, on_progress=on_progress)
    from conself_local.training.torch_backend.backend import TorchBackend

    return TorchBackend(job, on_progress)


def train(job: TrainingJob, folder: Path, backend: Backend, report: Report) -> None:
    """Run all steps from the last checkpoint on and write the adapter.

    `report` receives one dict for the forecast, one per micro-batch of log-probabilities, one per step and one at the
    end. Raises ConselfError if memory or disk is too small, or if a loss or gradient norm is not finite.
    """
    folder.mkdir(parents=True, exist_ok=True)
    forecast = backend.plan(folder)
    verify_disk(folder, "training", forecast.disk_bytes)
    report(
        {
            "forecast": forecast.summary,
            "forecast_peak_bytes": forecast.peak_bytes,
            "forecast_seconds": forecast.seconds,
        }
    )
    job_hash = job.content_hash()
    references = _ensure_references(job, job_hash, backend, folder, report)
    progress = backend.load(folder / "checkpoint", job_hash)
    while progress.step < job.steps and not is_displaced(job, progress.recent_shifts):
        try:
            event = _step(job, progress.step, backend, references)
        except DeviceMemoryError as error:
            _reduce_memory(backend, error, report)
            progress = backend.load(folder / "checkpoint", job_hash)
            continue
        if not math.isfinite(event["loss"]) or not math.isfinite(event["gradient_norm"]):
            raise ConselfError(
                f"the loss or gradient norm is not finite at step {event['step']}; the last checkpoint is kept",
                "train again with a lower learning rate",
            )
        recent = (*progress.recent_shifts, event["chosen_logp_shift"])[-displacement_window(job) :]
        progress = Progress(event["step"], job_hash, recent)
        backend.save(folder / "checkpoint", progress)
        report(event)
    change = _mean_change(job, backend, references, report)
    adapter = backend.adapter()
    write_peft(adapter, folder / "adapter", job.architecture)
    write_native(adapter, backend.model_file, folder)
    report({"done": True, "steps_done": progress.step, "mean_absolute_change_per_token": change})


def _ensure_references(
    job: TrainingJob, job_hash: str, backend: Backend, folder: Path, report: Report
) -> list[PairLogps]:
    path = folder / "reference.json"
    if path.is_file():
        stored = json.loads(path.read_text())
        if stored["job_hash"] == job_hash:
            return [(c, r) for c, r in stored["logps"]]
    logps = _pair_logps(
        job, range(len(job.pairs)), backend, lambda done: {"reference": done, "pairs": len(job.pairs)}, report
    )
    references = [logps[i] for i in range(len(job.pairs))]
    part = path.with_suffix(".part")
    part.write_text(json.dumps({"job_hash": job_hash, "logps": references}))
    part.rename(path)
    return references


def _pair_logps(
    job: TrainingJob,
    indices: Iterable[int],
    backend: Backend,
    progress: Callable[[int], dict[str, Any]],
    report: Report,
) -> dict[int, PairLogps]:
    """Return the log-probabilities by index; `progress` makes the report for the number of pairs done."""
    logps: dict[int, PairLogps] = {}
    pending = list(indices)
    while pending:
        try:
            for part in micro_batches(job.pairs, pending, backend.micro_batch_tokens):
                logps |= zip(part, backend.completion_logps([job.pairs[i] for i in part]), strict=True)
                report(progress(len(logps)))
        except DeviceMemoryError as error:
            _reduce_memory(backend, error, report)
        pending = [index for index in pending if index not in logps]
    return logps


def _reduce_memory(backend: Backend, error: DeviceMemoryError, report: Report) -> None:
    """Let the backend use less memory and report how; raise the error if it cannot."""
    measure = backend.reduce_memory()
    if not measure:
        raise error
    report({"notice": f"{error.message}; from here on, {measure}"})


def pairs_of_step(job: TrainingJob, step: int) -> list[int]:
    """Return the indices of the pairs of step `step`, counted from 0.

    Each epoch has its own order, drawn from the seed.
    """
    epoch, step_in_epoch = divmod(step, job.steps_per_epoch)
    order = list(range(len(job.pairs)))
    random.Random(f"{job.seed}/{epoch}").shuffle(order)
    return order[step_in_epoch * job.batch_pairs : (step_in_epoch + 1) * job.batch_pairs]


def learning_rate_at(job: TrainingJob, step: int) -> float:
    """Return the learning rate of step `step`, counted from 0.

    It rises linearly over `warmup_share` of the steps, then falls by half a cosine towards 0.
    """
    warmup = max(1, round(job.warmup_share * job.steps))
    if step < warmup:
        return job.learning_rate * (step + 1) / warmup
    share = (step - warmup) / max(1, job.steps - warmup)
    return job.learning_rate * 0.5 * (1 + math.cos(math.pi * share))


def _step(job: TrainingJob, step: int, backend: Backend, references: Sequence[PairLogps]) -> dict[str, Any]:
    started = time.monotonic()
    indices = pairs_of_step(job, step)
    metrics: list[PairMetrics] = []
    for part in micro_batches(job.pairs, indices, backend.micro_batch_tokens):
        metrics += backend.backward([job.pairs[i] for i in part], [references[i] for i in part], 1 / len(indices))
    rate = learning_rate_at(job, step)
    norm = backend.step(rate)
    return {
        "step": step + 1,
        "steps": job.steps,
        "loss": fmean(m.loss for m in metrics),
        "margin": fmean(m.margin for m in metrics),
        "reward_accuracy": fmean(m.margin > 0 for m in metrics),
        "chosen_logp_shift": fmean(m.chosen_shift for m in metrics),
        "learning_rate": rate,
        "gradient_norm": norm,
        "memory_bytes": backend.peak_bytes(),
        "seconds": time.monotonic() - started,
    }


def _mean_change(job: TrainingJob, backend: Backend, references: Sequence[PairLogps], report: Report) -> float:
    """Return the mean absolute change of log-probability, in nats per token.

    The mean is over both completions of at most MEASURED_PAIRS pairs.
    """
    measured = range(0, len(job.pairs), -(-len(job.pairs) // MEASURED_PAIRS))
    logps = _pair_logps(job, measured, backend, lambda done: {"measured": done, "pairs": len(measured)}, report)
    return fmean(
        abs(now - then) / len(completion)
        for i, both in logps.items()
        for now, then, completion in zip(both, references[i], (job.pairs[i].chosen, job.pairs[i].rejected), strict=True)
    )


if __name__ == "__main__":
    main()
