"""What goes wrong in training and between rounds gives a warning, and nothing else does."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from conself_local.events import StepDone
from conself_local.training.diagnostics import displaced_by, displacement_window, is_displaced, training_warnings
from conself_local.training.job import TokenPair, TrainingJob

PAIRS = [TokenPair((1,), (2,) * 10, (3,) * 10, 1.0)] * 8
GOOD = StepDone(
    step=6,
    steps=6,
    loss=0.5,
    margin=0.5,
    reward_accuracy=0.8,
    chosen_logp_shift=0.02,
    learning_rate=1e-4,
    gradient_norm=2.0,
    memory_bytes=1,
    seconds=1.0,
)


def _warnings(pairs: list[TokenPair] = PAIRS, **changes: float) -> list[str]:
    last = dataclasses.replace(GOOD, **changes)  # type: ignore[arg-type]
    steps = [dataclasses.replace(last, step=i) for i in range(1, 6)] + [last]
    return [warning.text for warning in training_warnings(steps, pairs)]


def test_a_good_run_gives_no_warning() -> None:
    assert _warnings() == [] and training_warnings([], PAIRS) == []


def test_each_failure_is_named() -> None:
    long = [TokenPair((1,), (2,) * 20, (3,) * 10, 1.0)]
    for warnings, expected in (
        (_warnings(chosen_logp_shift=-0.5), "became less likely (-0.50"),
        (_warnings(reward_accuracy=1.0, margin=4.0), "learnt by heart"),
        (_warnings(reward_accuracy=0.5), "hardly learnt"),
        (_warnings(long), "2.00 times as long"),
        (_warnings(gradient_norm=50.0), "as large as 50"),
        (_warnings(steps=12), "stopped early at step 6 of 12"),
    ):
        assert len(warnings) == 1 and expected in warnings[0]


def test_displacement_is_warned_of_by_one_rule() -> None:
    """The screen once warned at -0.5 in the last step, the report at -0.1 over the last third."""
    assert displaced_by([]) is None and displaced_by([0.0, 0.0, -0.1]) is None
    assert displaced_by([0.0, 0.0, -0.2]) == -0.2
    assert displaced_by([-9.0] * 4 + [0.0] * 2) is None, "what was and has passed is no warning"
    assert displaced_by([0.0] * 5 + [-0.5]) == pytest.approx(-0.25), "one step alone is noise"


def test_the_early_stop_waits_for_a_whole_window() -> None:
    job = TrainingJob("m", "llama", None, tuple(PAIRS), 0, 0.1, 4, 8, 1e-3, 2, 1, 0.1, 1.0, 0.1, 0.5, threads=1)
    assert displacement_window(job) == 4
    assert not is_displaced(job, (-9.0,) * 3) and not is_displaced(job, (-0.4,) * 4) and is_displaced(job, (-0.6,) * 4)
    assert not is_displaced(dataclasses.replace(job, max_displacement=None), (-9.0,) * 4)


@pytest.mark.model
def test_training_ends_early_and_keeps_its_adapter(tmp_path: Path) -> None:
    """The limit is above any shift, so training stops as soon as a window is full."""
    from conself_local.training.torch_backend.backend import TorchBackend
    from conself_local.training.trainer import train
    from tests.fakes.tiny_model import write_tiny_model

    model = write_tiny_model(tmp_path / "tiny.gguf")
    pairs = tuple(TokenPair((1, 5, 9 + i), (31, 32), (41, 42), 1.0) for i in range(6))
    job = TrainingJob(str(model.path), "llama", None, pairs, 0, 0.1, 4, 8, 1e-3, 2, 1, 0.1, 1.0, 0.0, -1e9, threads=1)
    reports: list[dict[str, object]] = []
    train(job, tmp_path / "job", TorchBackend(job), reports.append)
    assert reports[-1]["steps_done"] == 3 < job.steps and (tmp_path / "job" / "adapter.gguf").is_file()
    assert "MiB of disk" in str(reports[0]["forecast"])
