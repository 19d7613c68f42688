"""Checkpoints of a training run: adapter, optimiser and random state in safetensors and JSON; never a pickle.

Written beside and renamed, so that there is always one whole checkpoint or none.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file


@dataclass(frozen=True)
class Progress:
    step: int
    """Optimiser steps done."""
    job_hash: str
    recent_shifts: tuple[float, ...]
    """`chosen_logp_shift` of the last steps, newest last: what the early stop looks at."""


def trainable_parameters(model: Any) -> dict[str, torch.nn.Parameter]:
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def save_checkpoint(folder: Path, progress: Progress, model: Any, optimizer: torch.optim.AdamW) -> None:
    part = folder.with_suffix(".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    parameters = trainable_parameters(model)
    tensors = {f"weight/{name}": p.detach().cpu().contiguous() for name, p in parameters.items()}
    for name, p in parameters.items():
        for key, value in optimizer.state.get(p, {}).items():
            tensors[f"{key}/{name}"] = value.detach().cpu().contiguous()
    tensors["rng"] = torch.get_rng_state()
    save_file(tensors, part / "state.safetensors")
    (part / "progress.json").write_text(json.dumps(dataclasses.asdict(progress)))
    old = folder.with_suffix(".old")
    if folder.exists():
        folder.rename(old)
    part.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def load_checkpoint(folder: Path, job_hash: str, model: Any, optimizer: torch.optim.AdamW) -> Progress:
    """Puts the state back and returns where it was; at step 0 when there is no checkpoint of this very job."""
    old = folder.with_suffix(".old")
    source = folder if folder.exists() else old
    beginning = Progress(0, job_hash, ())
    if not (source / "progress.json").is_file():
        return beginning
    values = json.loads((source / "progress.json").read_text())
    if values["job_hash"] != job_hash:
        return beginning
    tensors = load_file(source / "state.safetensors")
    with torch.no_grad():
        for name, p in trainable_parameters(model).items():
            p.copy_(tensors[f"weight/{name}"])
            state = {key: tensors[f"{key}/{name}"] for key in ("step", "exp_avg", "exp_avg_sq") if f"{key}/{name}" in tensors}
            if state:
                optimizer.state[p] = {k: v.to(p.device) if k != "step" else v for k, v in state.items()}
    torch.set_rng_state(tensors["rng"])
    return Progress(values["step"], job_hash, tuple(values["recent_shifts"]))
