"""Checkpoints of a training run: adapter and optimiser state as safetensors, progress as JSON; never a pickle.

Written beside and renamed, so that there is always one whole checkpoint or none. Nothing random is left after the adapter
was made: the order of pairs comes from the seed and the step.
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
    step: int
    """Optimiser steps done."""
    job_hash: str
    recent_shifts: tuple[float, ...]
    """`chosen_logp_shift` of the last steps, newest last: what the early stop looks at."""


def write_checkpoint(folder: Path, progress: Progress, write_state: Callable[[Path], None]) -> None:
    """`write_state` writes the tensors to the safetensors file that it is given."""
    part = folder.with_suffix(".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    write_state(part / "state.safetensors")
    (part / "progress.json").write_text(json.dumps(dataclasses.asdict(progress)))
    old = folder.with_suffix(".old")
    if folder.exists():
        folder.rename(old)
    part.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def read_checkpoint(folder: Path, job_hash: str) -> tuple[Progress, Path | None]:
    """Where the run was and the file with its tensors; step 0 and None when there is no checkpoint of this very job."""
    source = folder if folder.exists() else folder.with_suffix(".old")
    if (source / "progress.json").is_file():
        values = json.loads((source / "progress.json").read_text())
        if values["job_hash"] == job_hash:
            return Progress(values["step"], job_hash, tuple(values["recent_shifts"])), source / "state.safetensors"
    return Progress(0, job_hash, ()), None
