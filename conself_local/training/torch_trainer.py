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
import resource
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from conself_local.errors import ConselfError
from conself_local.training.adapter_gguf import write_gguf_adapter
from conself_local.training.checkpoint import Progress, load_checkpoint, save_checkpoint, trainable_parameters
from conself_local.training.con_dpo_torch import con_dpo_pair_loss
from conself_local.training.job import TokenPair, TrainingJob, load_job
from conself_local.training.torch_model import add_lora, completion_logps, load_base, load_lora, pick_device, pick_dtype

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
    """All steps from the last checkpoint on; `report` takes one dict a step and one at the end."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(job.threads)
    device = pick_device()
    base = load_base(Path(job.model_path), pick_dtype(device), device)
    model = load_lora(base, Path(job.parent_adapter)) if job.parent_adapter else add_lora(base, job.lora_rank, job.lora_alpha, job.seed)
    parameters = list(trainable_parameters(model).values())
    optimizer = torch.optim.AdamW(parameters, lr=job.learning_rate, weight_decay=0.0)
    job_hash = job.content_hash()
    reference = _ensure_reference(job, job_hash, model, folder, report)
    done = load_checkpoint(folder / "checkpoint", job_hash, model, optimizer)
    for step in range(done, job.steps):
        event = _step(job, step, model, parameters, optimizer, reference)
        if not math.isfinite(event["loss"]) or not math.isfinite(event["gradient_norm"]):
            raise ConselfError(
                f"the loss is no number at step {step + 1}; the checkpoint before it is kept",
                "train again with a lower learning rate",
            )
        save_checkpoint(folder / "checkpoint", Progress(step + 1, job_hash), model, optimizer)
        report(event)
    change = _mean_change(job, model, reference, report)
    model.save_pretrained(str(folder / "adapter"), save_embedding_layers=False)
    write_gguf_adapter(folder / "adapter", Path(job.model_path), folder / "adapter.gguf")
    report({"done": True, "mean_absolute_change_per_token": change})


def _ensure_reference(job: TrainingJob, job_hash: str, model: Any, folder: Path, report: Any) -> Reference:
    path = folder / "reference.json"
    if path.is_file():
        kept = json.loads(path.read_text())
        if kept["job_hash"] == job_hash:
            return [(c, r) for c, r in kept["logps"]]
    reference: Reference = []
    with torch.no_grad():
        for i, pair in enumerate(job.pairs):
            chosen, rejected = completion_logps(model, pair.prompt, [pair.chosen, pair.rejected])
            reference.append((float(chosen.sum()), float(rejected.sum())))
            report({"reference": i + 1, "pairs": len(job.pairs)})
    part = path.with_suffix(".part")
    part.write_text(json.dumps({"job_hash": job_hash, "logps": reference}))
    part.rename(path)
    return reference


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
    losses, margins, shifts = [], [], []
    for i in chosen_pairs:
        pair: TokenPair = job.pairs[i]
        chosen, rejected = completion_logps(model, pair.prompt, [pair.chosen, pair.rejected])
        loss, margin = con_dpo_pair_loss(chosen.sum(), rejected.sum(), *reference[i], pair.weight, job.beta)
        total = loss - job.sft_weight * chosen.mean()
        (total / len(chosen_pairs)).backward()  # type: ignore[no-untyped-call]
        losses.append(float(loss))
        margins.append(float(margin))
        shifts.append((float(chosen.detach().sum()) - reference[i][0]) / len(pair.chosen))
    norm = float(torch.nn.utils.clip_grad_norm_(parameters, job.max_gradient_norm))
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    n = len(chosen_pairs)
    return {
        "step": step + 1, "steps": job.steps, "loss": sum(losses) / n, "margin": sum(margins) / n,
        "reward_accuracy": sum(m > 0 for m in margins) / n, "chosen_logp_shift": sum(shifts) / n,
        "learning_rate": rate, "gradient_norm": norm, "memory_bytes": peak_memory_bytes(),
        "seconds": time.monotonic() - started,
    }  # fmt: skip


def _mean_change(job: TrainingJob, model: Any, reference: Reference, report: Any) -> float:
    """Mean absolute change of log-probability, nats a token, over all completions of all pairs."""
    changes = []
    with torch.no_grad():
        for i, pair in enumerate(job.pairs):
            both = completion_logps(model, pair.prompt, [pair.chosen, pair.rejected])
            changes += [abs(float(logps.sum()) - ref) / len(logps) for logps, ref in zip(both, reference[i], strict=True)]
            report({"measured": i + 1, "pairs": len(job.pairs)})
    return sum(changes) / len(changes)


def peak_memory_bytes() -> int:
    scale = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale


if __name__ == "__main__":
    main()
