"""Run the trainer as a child process and yield its reports; the result is an adapter, or an error with a hint.

The training is not done here (`trainer.py`).
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import Any

from conself_local.errors import ConselfError, TrainingFailedError
from conself_local.machine.child_environment import child_environment
from conself_local.training.job import TrainingJob


def run_trainer(job: TrainingJob, folder: Path) -> Generator[dict[str, Any]]:
    """Write the job to `folder`, start the trainer there and yield its reports; the last one has `done`.

    The trainer itself continues from its last checkpoint. Closing the generator kills it. Raises the ConselfError that
    the trainer reports, or TrainingFailedError if it ends without a result.
    """
    folder.mkdir(parents=True, exist_ok=True)
    job.write(folder / "job.json")
    command = [sys.executable, "-m", "conself_local.training.trainer", str(folder)]
    with tempfile.TemporaryFile() as stderr:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            env=child_environment(),
            start_new_session=True,
        )
        _prefer_as_oom_victim(process.pid)
        finished = False
        try:
            assert process.stdout is not None, "the child's output is a pipe"
            for line in process.stdout:
                report: dict[str, Any] = json.loads(line)
                if "error" in report:
                    raise ConselfError(report["error"], report["hint"])
                finished = "done" in report
                yield report
            process.wait()
        finally:
            process.kill()
            process.wait()
        if not finished:
            stderr.seek(max(0, stderr.seek(0, os.SEEK_END) - 2000))
            messages = stderr.read().decode(errors="replace").strip().splitlines()[-2:]
            raise TrainingFailedError(
                f"the trainer ended with status {process.returncode}: "
                f"{' | '.join(messages) or 'it printed no message'}",
                "start again: it continues from its last checkpoint; if it ran out of memory, close other programs",
            )


def _prefer_as_oom_victim(pid: int) -> None:
    """Let Linux kill the trainer first if memory runs out: it can resume, and the user's desktop cannot."""
    with contextlib.suppress(OSError):
        Path(f"/proc/{pid}/oom_score_adj").write_text("1000")
