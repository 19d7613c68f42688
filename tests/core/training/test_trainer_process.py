"""A trainer that hangs or dies ends with a sentence that says how to continue; the training itself is tested elsewhere."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from conself_local.errors import TrainingFailedError
from conself_local.training import trainer_process
from conself_local.training.job import TokenPair, TrainingJob
from conself_local.training.trainer_process import run_trainer

JOB = TrainingJob(
    "m.gguf", "llama", None, (TokenPair((1,), (2,), (3,), 1.0),), 3, 0.1, 4, 8, 1e-3, 2, 2, 0.1, 1.0, 0.1, None, threads=1
)  # fmt: skip


def _run(
    script: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[list[dict[str, Any]], TrainingFailedError]:
    """Run a script in place of the trainer; return its reports and the error with which it ended."""
    monkeypatch.setattr(trainer_process, "module_command", lambda *arguments: ["sh", "-c", script])
    reports = []
    with pytest.raises(TrainingFailedError) as told:
        for report in run_trainer(JOB, folder, hang_seconds=1):
            reports.append(report)
    return reports, told.value


def test_a_trainer_that_hangs_is_killed_and_can_be_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = "echo '{\"step\": 1}'; echo alive; sleep 0.7; echo alive; sleep 0.7; echo '{\"step\": 2}'"
    script = f"echo $$ >{tmp_path}/pid; {steps}; kill -STOP $$"
    reports, error = _run(script, tmp_path / "job", monkeypatch)
    assert reports == [{"step": 1}, {"step": 2}], "heartbeats are progress, not reports"
    assert "no progress for 1 s" in error.message and "continues from its last checkpoint" in error.hint
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_a_trainer_that_dies_is_reported_with_its_last_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reports, error = _run("echo '{\"step\": 1}'; echo no memory >&2; kill -KILL $$", tmp_path / "job", monkeypatch)
    assert reports == [{"step": 1}]
    assert "status -9: no memory" in error.message and "continues from its last checkpoint" in error.hint
