"""The trainer process: `python -m conself_local.training.torch_trainer FOLDER`; JSON lines out, one a step.

FOLDER holds `job.json`; checkpoints and, at the end, `adapter/` (PEFT) and `adapter.gguf` are written there.
Reference log-probabilities are computed once, before the first step, and kept in `reference.json`.
Covered: exact resume from the last step's checkpoint; a stop at the first loss that is no number.
Not covered: deciding whether the adapter is any good (`evaluation/`).
"""

from __future__ import annotations

import json
import math
import os
import random
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch

from conself_local.errors import ConselfError
from conself_local.sampling.gguf_file import load_model_file
from conself_local.training.adapter_gguf import write_gguf_adapter
from conself_local.training.checkpoint import Progress, load_checkpoint, save_checkpoint, trainable_parameters
from conself_local.training.con_dpo_torch import con_dpo_pair_loss
from conself_local.training.guards import displacement_window, is_displaced
from conself_local.training.job import TrainingJob, load_job
from conself_local.training.packed_linear import keep_dense
from conself_local.training.packing import Group, group_of, micro_batches, pack
from conself_local.training.plan import MEASURED_PAIRS, MICRO_BATCH_TOKENS, peak_bytes, plan_training
from conself_local.training.torch_model import (
    add_lora,
    completion_sums,
    load_base,
    load_lora,
    pick_device,
    pick_dtype,
    token_logps,
)

Reference = list[tuple[float, float]]
"""(chosen, rejected) of every pair: log-probabilities summed over tokens, nats."""


def main() -> None:
    folder = Path(sys.argv[1])
    channel = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    threading.Thread(target=_end_with_the_conductor, daemon=True).start()
    try:
        train(load_job(folder / "job.json"), folder, lambda event: print(json.dumps(event), file=channel, flush=True))
    except ConselfError as error:
        print(json.dumps({"error": error.message, "hint": error.hint}), file=channel, flush=True)


def _end_with_the_conductor() -> None:
    sys.stdin.read()
    os._exit(1)


def train(job: TrainingJob, folder: Path, report: Callable[[dict[str, Any]], object]) -> None:
    """All steps from the last checkpoint on; `report` takes the forecast, then one dict a step and one at the end."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(job.threads)
    device = pick_device()
    described = load_model_file(Path(job.model_path))
    base = load_base(described, pick_dtype(device), device)
    model = load_lora(base, Path(job.parent_adapter)) if job.parent_adapter else add_lora(base, job.lora_rank, job.lora_alpha, job.seed)
    parameters = list(trainable_parameters(model).values())
    _plan(job, model, parameters, device, report)
    optimizer = torch.optim.AdamW(parameters, lr=job.learning_rate, weight_decay=0.0)
    job_hash = job.content_hash()
    reference = _ensure_reference(job, job_hash, model, folder, report)
    progress = load_checkpoint(folder / "checkpoint", job_hash, model, optimizer)
    while progress.step < job.steps and not is_displaced(job, progress.recent_shifts):
        step = progress.step
        event = _step(job, step, model, parameters, optimizer, reference)
        if not math.isfinite(event["loss"]) or not math.isfinite(event["gradient_norm"]):
            raise ConselfError(
                f"the loss is no number at step {step + 1}; the checkpoint before it is kept",
                "train again with a lower learning rate",
            )
        recent = (*progress.recent_shifts, event["chosen_logp_shift"])[-displacement_window(job) :]
        progress = Progress(step + 1, job_hash, recent)
        save_checkpoint(folder / "checkpoint", progress, model, optimizer)
        report(event)
    change = _mean_change(job, model, reference, report)
    model.save_pretrained(str(folder / "adapter"), save_embedding_layers=False)
    write_gguf_adapter(folder / "adapter", described, folder / "adapter.gguf")
    report({"done": True, "steps_done": progress.step, "mean_absolute_change_per_token": change})


def _plan(job: TrainingJob, model: Any, parameters: list[torch.nn.Parameter], device: torch.device, report: Any) -> None:
    adapter_bytes = sum(p.numel() * p.element_size() for p in parameters)
    if device.type != "cpu":  # its memory is not what is measured here, and unpacking is done by the processor
        keep_dense(model, True)
        return

    def run(groups: Sequence[Group]) -> None:
        token_logps(model, pack(groups)).sum().backward()  # type: ignore[no-untyped-call]
        for parameter in parameters:
            parameter.grad = None

    report({"forecast": plan_training(job, model, run, adapter_bytes).words()})


def _ensure_reference(job: TrainingJob, job_hash: str, model: Any, folder: Path, report: Any) -> Reference:
    path = folder / "reference.json"
    if path.is_file():
        kept = json.loads(path.read_text())
        if kept["job_hash"] == job_hash:
            return [(c, r) for c, r in kept["logps"]]
    sums = _sums_without_gradient(job, model, range(len(job.pairs)), lambda done: report({"reference": done, "pairs": len(job.pairs)}))
    reference = [sums[i] for i in range(len(job.pairs))]
    part = path.with_suffix(".part")
    part.write_text(json.dumps({"job_hash": job_hash, "logps": reference}))
    part.rename(path)
    return reference


def _sums_without_gradient(
    job: TrainingJob, model: Any, indices: Iterable[int], told: Callable[[int], object]
) -> dict[int, tuple[float, float]]:
    """(chosen, rejected) log-probability of each of the pairs; `told` hears how many are done."""
    sums: dict[int, tuple[float, float]] = {}
    with torch.no_grad():
        for part in micro_batches(job.pairs, list(indices), MICRO_BATCH_TOKENS):
            packed = pack([group_of(job.pairs[i]) for i in part])
            both = completion_sums(token_logps(model, packed), packed).reshape(-1, 2).tolist()
            sums |= {i: (chosen, rejected) for i, (chosen, rejected) in zip(part, both, strict=True)}
            told(len(sums))
    return sums


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


def _step(
    job: TrainingJob, step: int, model: Any, parameters: list[torch.nn.Parameter], optimizer: torch.optim.AdamW,
    reference: Reference,
) -> dict[str, Any]:  # fmt: skip
    started = time.monotonic()
    chosen_pairs = pairs_of_step(job, step)
    rate = learning_rate_at(job, step)
    for group in optimizer.param_groups:
        group["lr"] = rate
    n = len(chosen_pairs)
    losses, margins, shifts = [], [], []
    for part in micro_batches(job.pairs, chosen_pairs, MICRO_BATCH_TOKENS):
        packed = pack([group_of(job.pairs[i]) for i in part])
        sums = completion_sums(token_logps(model, packed), packed).reshape(-1, 2)
        total = sums.new_zeros(())
        for i, (chosen, rejected) in zip(part, sums, strict=True):
            pair = job.pairs[i]
            loss, margin = con_dpo_pair_loss(chosen, rejected, *reference[i], pair.weight, job.beta)
            total = total + loss - job.sft_weight * chosen / len(pair.chosen)
            losses.append(float(loss))
            margins.append(float(margin))
            shifts.append((float(chosen.detach()) - reference[i][0]) / len(pair.chosen))
        (total / n).backward()  # type: ignore[no-untyped-call]
    norm = float(torch.nn.utils.clip_grad_norm_(parameters, job.max_gradient_norm))
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return {
        "step": step + 1, "steps": job.steps, "loss": sum(losses) / n, "margin": sum(margins) / n,
        "reward_accuracy": sum(m > 0 for m in margins) / n, "chosen_logp_shift": sum(shifts) / n,
        "learning_rate": rate, "gradient_norm": norm, "memory_bytes": peak_bytes(),
        "seconds": time.monotonic() - started,
    }  # fmt: skip


def _mean_change(job: TrainingJob, model: Any, reference: Reference, report: Any) -> float:
    """Mean absolute change of log-probability, nats a token, over both completions of at most MEASURED_PAIRS pairs."""
    stride = -(-len(job.pairs) // MEASURED_PAIRS)
    measured = range(0, len(job.pairs), stride)
    sums = _sums_without_gradient(job, model, measured, lambda done: report({"measured": done, "pairs": len(measured)}))
    changes = [
        abs(now - then) / len(completion)
        for i, both in sums.items()
        for now, then, completion in zip(both, reference[i], (job.pairs[i].chosen, job.pairs[i].rejected), strict=True)
    ]
    return sum(changes) / len(changes)


if __name__ == "__main__":
    main()
