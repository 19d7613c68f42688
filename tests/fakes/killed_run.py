"""Train twice: once without a break, and once cut off after a step's checkpoint and continued."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conself_local.training.job import TrainingJob
from conself_local.training.trainer import Backend, train

Reports = list[dict[str, Any]]


class _Killed(Exception):
    """Raised in place of a SIGKILL right after a step's checkpoint."""


def train_whole_and_cut(
    job: TrainingJob, open_backend: Callable[[TrainingJob], Backend], folder: Path
) -> tuple[Reports, Reports]:
    """Return the reports of the whole run (in `folder/whole`) and those after the cut behind step 2.

    The cut run is in `folder/cut`.
    """
    whole: Reports = []
    train(job, folder / "whole", open_backend(job), whole.append)

    def killed_after_two(report: dict[str, Any]) -> None:
        if report.get("step") == 2:
            raise _Killed

    with pytest.raises(_Killed):
        train(job, folder / "cut", open_backend(job), killed_after_two)
    rest: Reports = []
    train(job, folder / "cut", open_backend(job), rest.append)
    return whole, rest
