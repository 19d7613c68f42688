"""The MLX backend, on a tiny random model, agrees with torch's and with the plain formula, and resumes exactly."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip(
    "mlx.core", reason="MLX is for Apple Silicon; its processor build for Linux is a development dependency"
)

import mlx.core as mx
import numpy as np
import torch

from conself_local.adapters.formats import (
    adapter_of_mlx_tensors,
    adapter_of_peft_tensors,
    read_gguf,
    read_mlx,
    read_peft,
    write_peft,
)
from conself_local.method.con_dpo import con_dpo_loss
from conself_local.model_files.mlx_adapter import verify_mlx_adapter
from conself_local.model_files.mlx_folder import load_mlx_folder
from conself_local.model_files.model_file import ModelFile
from conself_local.training.job import TokenPair, TrainingJob
from conself_local.training.mlx_backend import MlxBackend, _flat
from conself_local.training.torch_backend.backend import TorchBackend
from conself_local.training.trainer import open_backend, train
from tests.fakes.killed_run import train_whole_and_cut
from tests.fakes.talking_folder import write_talking_folder
from tests.fakes.tiny_mlx_folder import write_mlx_folder
from tests.fakes.tiny_model import write_tiny_model

pytestmark = pytest.mark.model

PAIRS = tuple(
    TokenPair((1, 5, 9 + i, 20), (31, 32 + i, 33, 2), (41, 42, 43 + i, 44, 45, 2)[: 3 + i], 0.5 + 0.1 * i)
    for i in range(4)
)


def _job(model: ModelFile, parent: Path | None = None) -> TrainingJob:
    return TrainingJob(
        str(model.path),
        model.architecture,
        str(parent) if parent else None,
        PAIRS,
        3,
        0.5,
        4,
        8,
        1e-2,
        2,
        2,
        0.1,
        1.0,
        0.1,
        None,
        threads=1,
    )


def _moved_adapter(model: ModelFile, folder: Path) -> Path:
    """Write an adapter whose B is not zero, so that every gradient can be compared."""
    adapter = TorchBackend(_job(model)).adapter()
    random = np.random.default_rng(1)
    maps = {
        name: (a, random.standard_normal(b.shape).astype(np.float32) * 0.2) for name, (a, b) in adapter.maps.items()
    }
    write_peft(dataclasses.replace(adapter, maps=maps), folder, model.architecture)
    return folder


@pytest.mark.parametrize(("architecture", "tied"), [("llama", True), ("llama", False), ("qwen2", True)])
def test_loss_and_gradients_are_those_of_torch_and_the_plain_formula(
    architecture: str, tied: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("conself_local.training.torch_backend.devices.pick_dtype", lambda device: torch.float32)
    model = write_tiny_model(tmp_path / "tiny.gguf", architecture, tied=tied)
    job = _job(model, _moved_adapter(model, tmp_path / "parent"))
    ours, theirs = MlxBackend(job), TorchBackend(job)
    completion_logps = ours.completion_logps(PAIRS)
    assert np.allclose(completion_logps, theirs.completion_logps(PAIRS), atol=1e-4)
    references = [(chosen + 0.3, rejected - 0.2) for chosen, rejected in completion_logps]
    metrics, of_torch = (backend.backward(PAIRS, references, 1 / 4) for backend in (ours, theirs))
    for pair, one, other, both, reference in zip(PAIRS, metrics, of_torch, completion_logps, references, strict=True):
        nll = -both[0] / len(pair.chosen)
        assert one.loss == pytest.approx(
            con_dpo_loss(*both, *reference, pair.weight, job.beta) + job.sft_weight * nll, abs=1e-5
        )
        assert dataclasses.astuple(one) == pytest.approx(dataclasses.astuple(other), abs=1e-4)
    in_mlx = adapter_of_mlx_tensors({name: np.array(v) for name, v in _flat(ours._gradients).items()}, 1.0)
    in_torch = adapter_of_peft_tensors(
        {
            n.replace(".default.weight", ".weight"): p.grad.numpy()
            for n, p in theirs._named.items()
            if p.grad is not None
        },
        1.0,
    )
    assert set(in_mlx.maps) == set(in_torch.maps) and len(in_mlx.maps) == 14
    for name, sides in in_mlx.maps.items():
        for mine, of_peft in zip(sides, in_torch.maps[name], strict=True):
            assert float(np.abs(mine - of_peft).max()) <= 1e-4 * max(1.0, float(np.abs(of_peft).max())), name
    assert ours.step(1e-3) == pytest.approx(theirs.step(1e-3), rel=1e-3)
    assert np.allclose(ours.completion_logps(PAIRS), theirs.completion_logps(PAIRS), atol=2e-3)


def test_resumed_training_equals_undisturbed_training(tmp_path: Path) -> None:
    job = _job(write_tiny_model(tmp_path / "tiny.gguf"))
    whole, rest = train_whole_and_cut(job, MlxBackend, tmp_path)
    losses = {r["step"]: r["loss"] for r in whole if "step" in r}
    assert len(losses) == job.steps == 4 and losses[4] < losses[1]
    assert {r["step"]: r["loss"] for r in rest if "step" in r} == {step: losses[step] for step in (3, 4)}
    for name in ("adapter.gguf", "adapter/adapter_model.safetensors"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_its_adapter_is_the_same_in_every_format_and_torch_continues_from_it(tmp_path: Path) -> None:
    model = write_tiny_model(tmp_path / "tiny.gguf")
    job = _job(model)
    backend = MlxBackend(job)
    train(job, tmp_path / "job", backend, lambda report: None)
    by_peft, by_gguf = read_peft(tmp_path / "job" / "adapter"), read_gguf(tmp_path / "job" / "adapter.gguf", model)
    for name, sides in backend.adapter().maps.items():
        for one, peft, gguf in zip(sides, by_peft.maps[name], by_gguf.maps[name], strict=True):
            assert np.array_equal(one, peft) and np.array_equal(one, gguf)
    further = dataclasses.replace(job, parent_adapter=str(tmp_path / "job" / "adapter"))
    assert np.allclose(TorchBackend(further).completion_logps(PAIRS), backend.completion_logps(PAIRS), atol=0.5)


def test_a_4_bit_folder_is_trained_without_conversion(tmp_path: Path) -> None:
    folder = write_mlx_folder(tmp_path / "folder", bits=4)
    job = dataclasses.replace(_job(write_tiny_model(tmp_path / "tiny.gguf")), model_path=str(folder))
    backend = MlxBackend(job)
    before = backend.completion_logps(PAIRS)
    for _ in range(3):
        backend.backward(PAIRS, before, 1 / 4)
        backend.step(1e-2)
    after = backend.completion_logps(PAIRS)
    assert all(a[0] - a[1] > b[0] - b[1] for a, b in zip(after, before, strict=True))
    assert mx.isfinite(mx.array(after)).all()


def test_a_folder_is_trained_with_mlx_wherever_mlx_is_and_resumes_exactly(tmp_path: Path) -> None:
    """It prevents a folder that goes to torch on Linux, and an adapter that no engine of folders can load."""
    folder = load_mlx_folder(write_talking_folder(tmp_path / "folder", learns=False, bits=4))
    job = dataclasses.replace(_job(write_tiny_model(tmp_path / "tiny.gguf")), model_path=str(folder.path))
    assert isinstance(open_backend(job), MlxBackend)
    whole, rest = train_whole_and_cut(job, MlxBackend, tmp_path)
    losses = {r["step"]: r["loss"] for r in whole if "step" in r}
    assert {r["step"]: r["loss"] for r in rest if "step" in r} == {step: losses[step] for step in (3, 4)}
    for name in ("mlx/adapters.safetensors", "mlx/adapter_config.json", "adapter/adapter_model.safetensors"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    verify_mlx_adapter(tmp_path / "whole/mlx", folder)
    assert set(read_mlx(tmp_path / "whole/mlx", folder).maps) == set(folder.stored.linears)


def test_nothing_of_it_needs_torch_or_peft(tmp_path: Path) -> None:
    """pip installs neither on Apple Silicon."""
    folder = write_talking_folder(tmp_path / "folder", learns=False)
    job = dataclasses.replace(_job(write_tiny_model(tmp_path / "tiny.gguf")), model_path=str(folder))
    (tmp_path / "job").mkdir()
    job.write(tmp_path / "job/job.json")
    code = """
import sys
sys.modules["torch"] = sys.modules["peft"] = None
from pathlib import Path
from conself_local.sampling.mlx_engine import MlxEngine
from conself_local.training.job import load_job
from conself_local.training.trainer import open_backend, train
folder = Path(sys.argv[1])
job = load_job(folder / "job.json")
train(job, folder, open_backend(job), lambda report: None)
engine = MlxEngine(Path(job.model_path), slots=1, context_tokens=256)
print(len(engine.score([1, 5], [9, 7, 8], folder / "mlx")), engine.tokenize("def f(n):") != [])
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "job")], capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == ["3", "True"], done.stderr
