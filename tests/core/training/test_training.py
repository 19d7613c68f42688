"""The trainer's loss and gradients equal the plain formula; its order, rate, exact resume and NaN check hold."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from conself_local.errors import ConselfError
from conself_local.method.con_dpo import con_dpo_loss
from conself_local.model_files.bundled import bundled_model
from conself_local.training import trainer
from conself_local.training.job import TokenPair, TrainingJob, load_job
from conself_local.training.torch_backend.backend import TorchBackend
from conself_local.training.torch_backend.loss import con_dpo_pair_loss
from conself_local.training.trainer import learning_rate_at, pairs_of_step, train
from tests.fakes.killed_run import train_whole_and_cut

pytestmark = pytest.mark.model

_logp = st.floats(-200, 0)


@given(_logp, _logp, _logp, _logp, st.floats(0, 1), st.floats(0.01, 1))
@settings(max_examples=50)
def test_loss_and_gradient_equal_the_plain_formula(
    pc: float, pr: float, rc: float, rr: float, weight: float, beta: float
) -> None:
    chosen = torch.tensor(pc, dtype=torch.float64, requires_grad=True)
    rejected = torch.tensor(pr, dtype=torch.float64, requires_grad=True)
    loss, margin = con_dpo_pair_loss(chosen, rejected, rc, rr, weight, beta)
    assert float(loss) == pytest.approx(con_dpo_loss(pc, pr, rc, rr, weight, beta), abs=1e-9)
    loss.backward()  # type: ignore[no-untyped-call]
    by_hand = -weight * beta / (1 + float(torch.exp(margin.detach())))
    assert chosen.grad is not None and rejected.grad is not None
    assert float(chosen.grad) == pytest.approx(by_hand, abs=1e-9) and float(rejected.grad) == pytest.approx(
        -by_hand, abs=1e-9
    )


def _job(pairs: int = 4, **changes: Any) -> TrainingJob:
    made = tuple(
        TokenPair((1, 4093, 198, 28 + i), (11, 12, 13 + i, 2), (21, 22, 23, 24 + i, 2), 0.5 + 0.1 * i)
        for i in range(pairs)
    )
    job = TrainingJob(
        str(bundled_model()), "llama", None, made, 3, 0.1, 4, 8, 1e-3, 2, 2, 0.1, 1.0, 0.1, None, threads=2
    )
    return dataclasses.replace(job, **changes)


def test_every_epoch_takes_every_pair_once_in_its_own_order() -> None:
    job = _job(pairs=21, epochs=3, batch_pairs=8)
    assert (job.steps_per_epoch, job.steps) == (3, 9)
    epochs = [[i for step in range(3 * e, 3 * e + 3) for i in pairs_of_step(job, step)] for e in range(3)]
    assert all(sorted(order) == list(range(21)) for order in epochs) and epochs[0] != epochs[1]


def test_learning_rate_warms_up_and_falls_to_nothing() -> None:
    job = _job(pairs=80, batch_pairs=8, epochs=2)
    rates = [learning_rate_at(job, s) for s in range(job.steps)]
    assert (rates[0] == pytest.approx(5e-4) and rates[1] == pytest.approx(1e-3) and max(rates) == rates[1]) or rates[
        2
    ] == 1e-3
    assert rates[2:] == sorted(rates[2:], reverse=True) and rates[-1] < 2e-5


def test_a_job_survives_its_file(tmp_path: Path) -> None:
    _job().write(tmp_path / "job.json")
    assert load_job(tmp_path / "job.json") == _job()
    assert (
        _job().content_hash() == dataclasses.replace(_job(), threads=7).content_hash() != _job(pairs=3).content_hash()
    )


def test_progress_is_reported_within_each_pass() -> None:
    """A micro-batch can take many minutes on a slow computer, which must not look like a hang."""
    reports = 0

    def count() -> None:
        nonlocal reports
        reports += 1

    job = _job()
    backend = TorchBackend(job, count)
    references = backend.completion_logps(job.pairs[:2])
    forward = reports
    assert forward > 100, "each linear map of each layer"
    backend.backward(job.pairs[:2], references, 0.5)
    assert reports - forward > 1.8 * forward, "forward and backward"


def test_resumed_training_equals_undisturbed_training(tmp_path: Path) -> None:
    job = _job()
    whole, rest = train_whole_and_cut(job, TorchBackend, tmp_path)
    losses = {r["step"]: r["loss"] for r in whole if "step" in r}
    assert len(losses) == job.steps == 4 and whole[-1]["mean_absolute_change_per_token"] > 0
    resumed = {r["step"]: r["loss"] for r in rest if "step" in r}
    assert sorted(resumed) == [3, 4] and all(losses[s] == pytest.approx(resumed[s], abs=1e-6) for s in resumed)
    assert (tmp_path / "cut" / "adapter.gguf").read_bytes() == (tmp_path / "whole" / "adapter.gguf").read_bytes()


def test_a_loss_that_is_not_a_number_stops_training_and_keeps_the_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = trainer._step

    def breaks_at_two(job: TrainingJob, step: int, *rest: Any) -> dict[str, Any]:
        return real(job, step, *rest) | ({"loss": float("nan")} if step == 1 else {})

    monkeypatch.setattr(trainer, "_step", breaks_at_two)
    with pytest.raises(ConselfError, match="not finite at step 2"):
        train(_job(), tmp_path / "job", TorchBackend(_job()), lambda report: None)
    assert (tmp_path / "job" / "checkpoint" / "state.safetensors").is_file()
    assert not (tmp_path / "job" / "adapter.gguf").exists()
