"""Run the trainer as a child process and yield its reports; the result is an adapter, or an error with a hint.

The training is not done here (`trainer.py`).
"""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import Any

from conself_local.errors import ConselfError, TrainingFailedError
from conself_local.machine.child_process import last_lines, module_command, start_child
from conself_local.training.job import TrainingJob


def run_trainer(job: TrainingJob, folder: Path) -> Generator[dict[str, Any]]:
    """Write the job to `folder`, start the trainer there and yield its reports; the last one has `done`.

    The trainer itself continues from its last checkpoint. Closing the generator kills it. Raises the ConselfError that
    the trainer reports, or TrainingFailedError if it ends without a result.
    """
    folder.mkdir(parents=True, exist_ok=True)
    job.write(folder / "job.json")
    with tempfile.TemporaryFile() as stderr:
        process = start_child(module_command("conself_local.training.trainer", str(folder)), stderr)
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
            messages = " | ".join(last_lines(stderr, 2)) or "it printed no message"
            raise TrainingFailedError(
                f"the trainer ended with status {process.returncode}: {messages}",
                "start again: it continues from its last checkpoint; if it ran out of memory, close other programs",
            )


def _prefer_as_oom_victim(pid: int) -> None:
    """Let Linux kill the trainer first if memory runs out: it can resume, and the user's desktop cannot."""
    with contextlib.suppress(OSError):
        Path(f"/proc/{pid}/oom_score_adj").write_text("1000")
