"""Write and read checkpoints of a training run: adapter and optimiser state as safetensors, progress as JSON.

A checkpoint is written to a folder beside the old one and renamed, so that there is always one complete checkpoint or
none. Never written: a pickle, and the state of a random generator, because nothing is random after the adapter is made
(the order of the pairs follows from the seed and the step).
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Progress:
    """How far a training run is."""

    step: int
    """Number of optimiser steps done."""
    job_hash: str
    """`TrainingJob.content_hash` of the run."""
    recent_shifts: tuple[float, ...]
    """`chosen_logp_shift` of the last steps, newest last, for the early stop."""


def write_checkpoint(folder: Path, progress: Progress, write_state: Callable[[Path], None]) -> None:
    """Replace the checkpoint in `folder`; `write_state` writes the tensors to the safetensors path that it receives."""
    part = folder.with_suffix(".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    write_state(part / "state.safetensors")
    (part / "progress.json").write_text(json.dumps(dataclasses.asdict(progress)))
    old = folder.with_suffix(".old")
    if folder.exists():
        shutil.rmtree(old, ignore_errors=True)  # left over if the process was killed while it was deleted
        folder.rename(old)
    part.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def read_checkpoint(folder: Path, job_hash: str) -> tuple[Progress, Path | None]:
    """Return the progress and the path of the tensors; step 0 and None if there is no checkpoint of this job."""
    source = folder if folder.exists() else folder.with_suffix(".old")
    if (source / "progress.json").is_file():
        values = json.loads((source / "progress.json").read_text())
        if values["job_hash"] == job_hash:
            return Progress(values["step"], job_hash, tuple(values["recent_shifts"])), source / "state.safetensors"
    return Progress(0, job_hash, ()), None
