"""Every family that trains with MLX from a folder has the loss and the gradients of torch and of the plain formula."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip(
    "mlx.core", reason="MLX is for Apple Silicon; its processor build for Linux is a development dependency"
)

import mlx.core as mx
import numpy as np
import torch

from conself_local.adapters.formats import Adapter, adapter_of_mlx_tensors, adapter_of_peft_tensors, write_peft
from conself_local.errors import ConselfError
from conself_local.method.con_dpo import con_dpo_loss
from conself_local.model_files.mlx_families import MLX_FAMILIES, verify_mlx_family
from conself_local.model_files.mlx_folder import MlxFolder, load_mlx_folder
from conself_local.training.checkpointed_layers import set_checkpointing
from conself_local.training.job import TokenPair, TrainingJob
from conself_local.training.mlx_backend import MlxBackend, _flat, logits_of
from conself_local.training.torch_backend.loss import con_dpo_pair_loss
from tests.fakes.tiny_mlx_folder import write_family_folder

pytestmark = pytest.mark.model

PAIRS = tuple(
    TokenPair((1, 5, 9 + i, 20), (31, 32 + i, 33, 2), (41, 42, 43 + i, 44, 45, 2)[: 3 + i], 0.5 + 0.1 * i)
    for i in range(3)
)
CLOSE = 1e-4
"""Largest difference, relative to the largest value."""


def _job(model: MlxFolder, parent: Path) -> TrainingJob:
    return TrainingJob(
        str(model.path), model.architecture, str(parent), PAIRS, 3, 0.5, 4, 8, 1e-2, 2, 2, 0.1, 1.0, 0.1, None, threads=1
    )  # fmt: skip


def _adapter(model: MlxFolder) -> Adapter:
    random = np.random.default_rng(1)

    def values(*shape: int) -> Any:
        return random.standard_normal(shape).astype(np.float32) * 0.1

    return Adapter(2.0, {name: (values(4, n), values(m, 4)) for name, (m, n) in sorted(model.stored.linears.items())})


def _torch_logps(model: Any, prompt: tuple[int, ...], completion: tuple[int, ...]) -> torch.Tensor:
    ids = torch.tensor([[*prompt, *completion]])
    logps = model(ids[:, :-1]).logits[0, len(prompt) - 1 :].log_softmax(-1)
    return logps.gather(-1, ids[0, len(prompt) :, None]).sum()


@pytest.mark.parametrize("family", [*MLX_FAMILIES, "llama 3"])
def test_loss_and_gradients_are_those_of_torch_and_the_plain_formula(family: str, tmp_path: Path) -> None:
    """It prevents training that is another model's: a scale of logits, a norm or a map that mlx-lm has elsewhere."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = load_mlx_folder(write_family_folder(tmp_path / "folder", family))
    write_peft(_adapter(model), tmp_path / "parent", family)
    job = _job(model, tmp_path / "parent")
    ours = MlxBackend(job, dtype=mx.float32)
    ids = mx.array([[1, 5, 9, 20, 31]])
    assert np.allclose(logits_of(ours._model, ours._model.model(ids)), ours._model(ids), atol=1e-5)
    logps = ours.completion_logps(PAIRS)
    references = [(chosen + 0.3, rejected - 0.2) for chosen, rejected in logps]
    metrics = ours.backward(PAIRS, references, 1 / len(PAIRS))

    base = AutoModelForCausalLM.from_pretrained(model.path, dtype=torch.float32, attn_implementation="eager")
    theirs = PeftModel.from_pretrained(base, str(tmp_path / "parent"), is_trainable=True)
    theirs.eval()
    for pair, one, both, reference in zip(PAIRS, metrics, logps, references, strict=True):
        chosen, rejected = (_torch_logps(theirs, pair.prompt, c) for c in (pair.chosen, pair.rejected))
        assert both == pytest.approx((float(chosen), float(rejected)), rel=CLOSE)
        loss, _ = con_dpo_pair_loss(chosen, rejected, *reference, pair.weight, job.beta)
        loss = loss - job.sft_weight * chosen / len(pair.chosen)
        (loss / len(PAIRS)).backward()  # type: ignore[no-untyped-call]
        formula = con_dpo_loss(*both, *reference, pair.weight, job.beta) - job.sft_weight * both[0] / len(pair.chosen)
        assert one.loss == pytest.approx(float(loss), rel=CLOSE) == pytest.approx(formula, rel=CLOSE)
    in_torch = adapter_of_peft_tensors(
        {
            name.replace(".default.weight", ".weight"): parameter.grad.numpy()
            for name, parameter in theirs.named_parameters()
            if parameter.grad is not None
        },
        1.0,
    )
    in_mlx = _gradients(ours)
    assert set(in_mlx.maps) == set(in_torch.maps) == set(model.stored.linears)
    for name, sides in in_mlx.maps.items():
        for mine, other in zip(sides, in_torch.maps[name], strict=True):
            assert float(np.abs(mine - other).max()) <= CLOSE * float(np.abs(other).max()), name


def _gradients(backend: MlxBackend) -> Adapter:
    return adapter_of_mlx_tensors({name: np.array(v) for name, v in _flat(backend._gradients).items()}, 1.0)


def test_layers_that_are_computed_twice_give_the_same_gradients(tmp_path: Path) -> None:
    model = load_mlx_folder(write_family_folder(tmp_path / "folder", "qwen2"))
    write_peft(_adapter(model), tmp_path / "parent", "qwen2")
    backend = MlxBackend(_job(model, tmp_path / "parent"))
    before, found = backend.completion_logps(PAIRS), []
    for on in (False, True, False):
        set_checkpointing(backend._model.layers, on)
        assert all(type(layer).__name__.startswith("Checkpointed") == on for layer in backend._model.layers)
        backend._gradients = None
        backend.backward(PAIRS, before, 1 / len(PAIRS))
        found.append(_gradients(backend).maps)
    for name, sides in found[0].items():
        for others in found[1:]:
            assert all(np.allclose(a, b, rtol=1e-6, atol=1e-9) for a, b in zip(sides, others[name], strict=True)), name
    assert backend.completion_logps(PAIRS) == before, "the weights are as they were"


def test_the_plan_keeps_the_layers_only_if_they_surely_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load_mlx_folder(write_family_folder(tmp_path / "folder", "llama"))
    write_peft(_adapter(model), tmp_path / "parent", "llama")
    backend = MlxBackend(_job(model, tmp_path / "parent"))
    assert "keeping all layers" in backend.plan(tmp_path).summary
    needed = backend.plan(tmp_path).peak_bytes or 0
    monkeypatch.setattr("conself_local.training.mlx_backend.available_memory_bytes", lambda: needed)
    assert "computing each layer twice" in backend.plan(tmp_path).summary
    monkeypatch.setattr("conself_local.training.mlx_backend.available_memory_bytes", lambda: 10)
    with pytest.raises(ConselfError, match="are free"):
        backend.plan(tmp_path)


def test_a_family_without_a_proof_is_refused_by_its_name(tmp_path: Path) -> None:
    folder = write_family_folder(tmp_path / "folder", "llama")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "cohere"}))
    with pytest.raises(ConselfError, match="cohere cannot be trained with MLX"):
        verify_mlx_family(load_mlx_folder(folder))
    model = load_mlx_folder(write_family_folder(tmp_path / "other", "llama"))
    bare = dataclasses.replace(model, stored=dataclasses.replace(model.stored, linears={}))
    with pytest.raises(ConselfError, match="no linear maps"):
        verify_mlx_family(bare)
