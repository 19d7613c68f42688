"""Runs the trainer as a child process and hands on what it reports; an adapter, or an error with a way out."""

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
    """The trainer's reports, the last one with `done`. Going on from the last checkpoint is the trainer's own work.

    Raises ConselfError in the trainer's words, TrainingFailedError when it died.
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
        _be_first_to_go(process.pid)
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
            words = stderr.read().decode(errors="replace").strip().splitlines()[-2:]
            raise TrainingFailedError(
                f"the trainer ended with status {process.returncode}: {' | '.join(words) or 'it said nothing'}",
                "start again: it goes on from its last checkpoint; if it was killed for memory, close other programs",
            )


def _be_first_to_go(pid: int) -> None:
    """Where memory runs out all the same, the system ends the trainer, which resumes, and not the user's desktop (Linux)."""
    with contextlib.suppress(OSError):
        Path(f"/proc/{pid}/oom_score_adj").write_text("1000")
