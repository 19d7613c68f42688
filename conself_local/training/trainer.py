"""The trainer process: `python -m conself_local.training.trainer FOLDER`; JSON lines out, one a step.

FOLDER holds `job.json`; checkpoints and, at the end, `adapter/` (PEFT) and `adapter.gguf` are written there.
Reference log-probabilities are computed once, before the first step, and kept in `reference.json`. The model and its
arithmetic are a `Backend`: torch, or MLX on Apple Silicon; the loop is the same.
Covered: exact resume from the last step's checkpoint; a stop at the first loss that is no number; an early stop.
Not covered: deciding whether the adapter is any good (`evaluation/`).
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

from conself_local.adapters.formats import Adapter, write_gguf, write_peft
from conself_local.errors import ConselfError
from conself_local.machine.process_memory import peak_bytes
from conself_local.machine.room import verify_disk
from conself_local.model_files.model_file import ModelFile
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
from conself_local.training.packing import MICRO_BATCH_TOKENS, micro_batches

Report = Callable[[dict[str, Any]], object]


class Backend(Protocol):
    """The model under a LoRA adapter, its optimiser, and what one micro-batch of pairs is."""

    @property
    def model_file(self) -> ModelFile | None:
        """None where the weights are no GGUF file: then there is no GGUF adapter either."""

    def plan(self) -> Forecast:
        """How the run will go; raises ConselfError where it would not fit the machine."""

    def completion_logps(self, pairs: Sequence[TokenPair]) -> list[PairLogps]:
        """(chosen, rejected) log-probabilities summed over tokens, nats, as the adapter is now; no gradient."""

    def backward(self, pairs: Sequence[TokenPair], references: Sequence[PairLogps], share: float) -> list[PairMetrics]:
        """Add the gradient of `share` times the sum of the pairs' losses."""

    def step(self, learning_rate: float) -> float:
        """One AdamW step with the gradients added up, their norm cut; returns the norm before the cut, and forgets them."""

    def save(self, folder: Path, progress: Progress) -> None: ...

    def load(self, folder: Path, job_hash: str) -> Progress: ...

    def adapter(self) -> Adapter: ...


def main() -> None:
    folder = Path(sys.argv[1])
    channel = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    try:
        job = load_job(folder / "job.json")
        train(job, folder, open_backend(job), lambda event: print(json.dumps(event), file=channel, flush=True))
    except ConselfError as error:
        print(json.dumps({"error": error.message, "hint": error.hint}), file=channel, flush=True)


def _exit_with_parent() -> None:
    sys.stdin.read()
    os._exit(1)


def open_backend(job: TrainingJob) -> Backend:
    """MLX on Apple Silicon, torch elsewhere."""
    if platform.system() == "Darwin" and platform.machine() == "arm64":
        from conself_local.training.mlx_backend import MlxBackend

        return MlxBackend(job)
    from conself_local.training.torch_backend.backend import TorchBackend

    return TorchBackend(job)


def train(job: TrainingJob, folder: Path, backend: Backend, report: Report) -> None:
    """All steps from the last checkpoint on; `report` takes the forecast, then one dict a step and one at the end."""
    folder.mkdir(parents=True, exist_ok=True)
    forecast = backend.plan()
    verify_disk(folder, "training", forecast.disk_bytes)
    report({"forecast": forecast.words, "forecast_peak_bytes": forecast.peak_bytes})
    job_hash = job.content_hash()
    references = _ensure_references(job, job_hash, backend, folder, report)
    progress = backend.load(folder / "checkpoint", job_hash)
    while progress.step < job.steps and not is_displaced(job, progress.recent_shifts):
        event = _step(job, progress.step, backend, references)
        if not math.isfinite(event["loss"]) or not math.isfinite(event["gradient_norm"]):
            raise ConselfError(
                f"the loss is no number at step {event['step']}; the checkpoint before it is kept",
                "train again with a lower learning rate",
            )
        recent = (*progress.recent_shifts, event["chosen_logp_shift"])[-displacement_window(job) :]
        progress = Progress(event["step"], job_hash, recent)
        backend.save(folder / "checkpoint", progress)
        report(event)
    change = _mean_change(job, backend, references, report)
    adapter = backend.adapter()
    write_peft(adapter, folder / "adapter", job.architecture)
    if backend.model_file:
        write_gguf(adapter, backend.model_file, folder / "adapter.gguf")
    report({"done": True, "steps_done": progress.step, "mean_absolute_change_per_token": change})


def _ensure_references(
    job: TrainingJob, job_hash: str, backend: Backend, folder: Path, report: Report
) -> list[PairLogps]:
    path = folder / "reference.json"
    if path.is_file():
        kept = json.loads(path.read_text())
        if kept["job_hash"] == job_hash:
            return [(c, r) for c, r in kept["logps"]]
    logps = _pair_logps(
        job, range(len(job.pairs)), backend, lambda done: report({"reference": done, "pairs": len(job.pairs)})
    )
    references = [logps[i] for i in range(len(job.pairs))]
    part = path.with_suffix(".part")
    part.write_text(json.dumps({"job_hash": job_hash, "logps": references}))
    part.rename(path)
    return references


def _pair_logps(
    job: TrainingJob, indices: Iterable[int], backend: Backend, on_progress: Callable[[int], object]
) -> dict[int, PairLogps]:
    """`on_progress` is called with the number of pairs that are done."""
    logps: dict[int, PairLogps] = {}
    for part in micro_batches(job.pairs, list(indices), MICRO_BATCH_TOKENS):
        logps |= zip(part, backend.completion_logps([job.pairs[i] for i in part]), strict=True)
        on_progress(len(logps))
    return logps


def pairs_of_step(job: TrainingJob, step: int) -> list[int]:
    """Which pairs step `step` trains on: every epoch its own order, drawn from the seed."""
    epoch, place = divmod(step, job.steps_per_epoch)
    order = list(range(len(job.pairs)))
    random.Random(f"{job.seed}/{epoch}").shuffle(order)
    return order[place * job.batch_pairs : (place + 1) * job.batch_pairs]


def learning_rate_at(job: TrainingJob, step: int) -> float:
    """Linear warm-up over `warmup_share` of the steps, then half a cosine to 0."""
    warmup = max(1, round(job.warmup_share * job.steps))
    if step < warmup:
        return job.learning_rate * (step + 1) / warmup
    share = (step - warmup) / max(1, job.steps - warmup)
    return job.learning_rate * 0.5 * (1 + math.cos(math.pi * share))


def _step(job: TrainingJob, step: int, backend: Backend, references: Sequence[PairLogps]) -> dict[str, Any]:
    started = time.monotonic()
    indices = pairs_of_step(job, step)
    metrics: list[PairMetrics] = []
    for part in micro_batches(job.pairs, indices, MICRO_BATCH_TOKENS):
        metrics += backend.backward([job.pairs[i] for i in part], [references[i] for i in part], 1 / len(indices))
    rate = learning_rate_at(job, step)
    norm = backend.step(rate)
    return {
        "step": step + 1,
        "steps": job.steps,
        "loss": fmean(f.loss for f in metrics),
        "margin": fmean(f.margin for f in metrics),
        "reward_accuracy": fmean(f.margin > 0 for f in metrics),
        "chosen_logp_shift": fmean(f.chosen_shift for f in metrics),
        "learning_rate": rate,
        "gradient_norm": norm,
        "memory_bytes": peak_bytes(),
        "seconds": time.monotonic() - started,
    }


def _mean_change(job: TrainingJob, backend: Backend, references: Sequence[PairLogps], report: Report) -> float:
    """Mean absolute change of log-probability, nats a token, over both completions of at most MEASURED_PAIRS pairs."""
    measured = range(0, len(job.pairs), -(-len(job.pairs) // MEASURED_PAIRS))
    logps = _pair_logps(job, measured, backend, lambda done: report({"measured": done, "pairs": len(measured)}))
    return fmean(
        abs(now - then) / len(completion)
        for i, both in logps.items()
        for now, then, completion in zip(both, references[i], (job.pairs[i].chosen, job.pairs[i].rejected), strict=True)
    )


if __name__ == "__main__":
    main()
