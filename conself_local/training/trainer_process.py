"""Run the trainer as a child process and yield its reports; the result is an adapter, or an error with a hint.

A trainer that shows no progress is killed. The training is not done here (`trainer.py`).
"""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Generator
from pathlib import Path
from typing import Any

from conself_local.errors import ConselfError, TrainingFailedError
from conself_local.machine.child_log import ChildLog
from conself_local.machine.child_pipe import ChildClosedError, ChildHungError, ChildPipe
from conself_local.machine.child_process import close_child, end_child, module_command, start_child
from conself_local.training.job import TrainingJob

TRAINER_HANG_SECONDS = 600.0
"""Longest time without any progress of the trainer.

The torch trainer reports progress after each linear map. What reports nothing meanwhile takes minutes at most:
importing torch from a slow disk, one micro-batch with MLX, or writing a checkpoint.
"""
_CONTINUES = "start again: it continues from its last checkpoint"


def run_trainer(
    job: TrainingJob, folder: Path, hang_seconds: float = TRAINER_HANG_SECONDS
) -> Generator[dict[str, Any]]:
    """Write the job to `folder`, start the trainer there and yield its reports; the last one has `done`.

    The trainer itself continues from its last checkpoint. Closing the generator kills it. `hang_seconds` is for tests.
    Raises the ConselfError that the trainer reports, or TrainingFailedError if it ends without a result or hangs.
    """
    folder.mkdir(parents=True, exist_ok=True)
    job.write(folder / "job.json")
    log = ChildLog("trainer")
    process = start_child(module_command("conself_local.training.trainer", str(folder)), subprocess.PIPE)
    log.follow(process)
    _prefer_as_oom_victim(process.pid)
    pipe = ChildPipe(process)
    try:
        report: dict[str, Any] = {}
        while "done" not in report:
            report = json.loads(pipe.read_line(hang_seconds))
            if "error" in report:
                raise ConselfError(report["error"], report["hint"])
            yield report
    except ChildHungError as error:
        raise TrainingFailedError(
            f"the trainer made no progress for {hang_seconds:g} s and was killed", _CONTINUES
        ) from error
    except ChildClosedError as error:
        status = end_child(process, is_ending=True)
        messages = " | ".join(log.last_lines(2)) or "it printed no message"
        raise TrainingFailedError(
            f"the trainer ended with status {status}: {messages}",
            f"{_CONTINUES}; if it ran out of memory, close other programs",
        ) from error
    finally:
        close_child(process)


def _prefer_as_oom_victim(pid: int) -> None:
    """Let Linux kill the trainer first if memory runs out: it can resume, and the user's desktop cannot."""
    with contextlib.suppress(OSError):
        Path(f"/proc/{pid}/oom_score_adj").write_text("1000")
