"""For every family, torch gives the log-probabilities of llama.cpp on a tiny file with awkward values.

Compared over the whole vocabulary: the base model, the model with a random adapter that moves it far, and, where the
rows of Q and K are permuted, an adapter in the wrong order, which must miss. Packed completions equal plain ones.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import llama_cpp
import numpy as np
import numpy.typing as npt
import pytest
import torch

from conself_local.adapters.formats import write_gguf, write_peft
from conself_local.adapters.merge import merge_adapter
from conself_local.errors import ConselfError
from conself_local.model_files.converted_weights import ORIGINAL
from conself_local.model_files.families import FAMILIES
from conself_local.model_files.gguf_weights import family_of, linear_tensors
from conself_local.model_files.model_file import ModelFile
from conself_local.sampling.amx import amx_is_off
from conself_local.training.job import TokenPair, TrainingJob
from conself_local.training.packing import Group, pack
from conself_local.training.torch_backend.backend import TorchBackend
from conself_local.training.torch_backend.model import add_lora, load_base, load_lora, token_logps
from conself_local.training.trainer import train
from tests.fakes.copied_gguf import copy_gguf
from tests.fakes.random_adapter import random_adapter
from tests.fakes.tiny_families import TINY_FAMILIES, VOCABULARY, write_tiny_family
from tests.fakes.tiny_qwen35 import write_tiny_qwen35

pytestmark = pytest.mark.model
CONTEXT = 256
TOKENS = [int(n) for n in np.random.default_rng(5).integers(3, VOCABULARY, 60)]
BAR, BAR_OF_GELU = 1e-5, 2e-3
"""Mean difference in nats; llama.cpp computes GELU by a table of 16-bit floats on a CPU."""
_Logps = npt.NDArray[np.float64]


def _of_llama(path: Path, lora: Path | None = None) -> _Logps:
    with amx_is_off():
        model = llama_cpp.Llama(
            str(path), n_ctx=CONTEXT, logits_all=True, verbose=False, n_threads=1, n_threads_batch=1, n_batch=64,
            n_ubatch=64, type_k=0, type_v=0, lora_path=str(lora) if lora else None,
        )  # fmt: skip
    model.eval(TOKENS)
    scores = np.array(model.scores[: len(TOKENS)], dtype=np.float64)
    model.close()
    return scores - np.logaddexp.reduce(scores, axis=-1, keepdims=True)


def _of_torch(model: Any) -> _Logps:
    """Return (tokens, vocabulary) log-probabilities by the code that trains: every token of the vocabulary a target."""
    packed = pack([Group(TOKENS[:1], [[*TOKENS[1:], 0]])])
    count = len(TOKENS)
    everything = replace(
        packed,
        rows=np.repeat(np.arange(count), VOCABULARY),
        targets=np.tile(np.arange(VOCABULARY), count),
        owner=np.zeros(count * VOCABULARY, dtype=np.int64),
        lengths=np.array([count * VOCABULARY]),
    )
    with torch.no_grad():
        return token_logps(model, everything).double().numpy().reshape(count, VOCABULARY)


def _write(name: str, path: Path) -> ModelFile:
    return write_tiny_qwen35(path) if name == "qwen35" else write_tiny_family(path, TINY_FAMILIES[name])


def _difference(left: _Logps, right: _Logps) -> float:
    return float(np.abs(left - right).mean())


@pytest.mark.parametrize("name", [*TINY_FAMILIES, "qwen35"])
def test_log_probabilities_are_those_of_llama_cpp(name: str, tmp_path: Path) -> None:
    described = _write(name, tmp_path / "tiny.gguf")
    bar = BAR_OF_GELU if family_of(described).gelu else BAR
    model = load_base(described, torch.float32, torch.device("cpu"), CONTEXT)
    base = _of_torch(model)
    assert _difference(base, _of_llama(described.path)) < bar
    assert _packed_difference(model) < 1e-5

    adapter = random_adapter(described, 0.2)
    write_gguf(adapter, described, tmp_path / "right.gguf")
    write_peft(adapter, tmp_path / "peft", described.architecture)
    adapted = _of_torch(load_lora(model, tmp_path / "peft"))
    missed = _difference(adapted, _of_llama(described.path, tmp_path / "right.gguf"))
    moved = _difference(base, adapted)
    print(f"{name}: base {_difference(base, _of_llama(described.path)):.1e}, moved {moved:.2f}, missed {missed:.1e}")
    assert moved > 0.5 and missed < bar
    merge_adapter(described, tmp_path / "right.gguf", tmp_path / "merged.gguf", ORIGINAL, tmp_path)
    assert _difference(adapted, _of_llama(tmp_path / "merged.gguf")) < bar
    if any(not tensor.order.is_same for tensor in linear_tensors(described).values()):
        write_gguf(adapter, described, tmp_path / "wrong.gguf", permute=False)
        assert _difference(adapted, _of_llama(described.path, tmp_path / "wrong.gguf")) > 100 * missed


@pytest.mark.parametrize("name", ["gemma2", "granite", "llama"])
def test_gradients_of_the_frozen_head_are_those_of_autograd(name: str, tmp_path: Path) -> None:
    """The head is not called: its caps, divisors and slopes are computed beside it."""
    base = load_base(_write(name, tmp_path / "tiny.gguf"), torch.float32, torch.device("cpu"))
    model = add_lora(base, 4, 8, seed=1)
    packed = pack([Group(TOKENS[:10], [TOKENS[10:30]])])
    factors = [p for p in model.parameters() if p.requires_grad]
    for factor in factors:
        torch.nn.init.normal_(factor, std=0.1, generator=torch.Generator().manual_seed(2))
    ours = torch.autograd.grad(token_logps(model, packed).sum(), factors)
    base.set_attn_implementation("eager")  # which makes its own masks
    logits = model(input_ids=torch.tensor([TOKENS[:29]]), use_cache=False).logits[0, 9:]
    by_autograd = torch.log_softmax(logits, -1).gather(1, torch.tensor(TOKENS[10:30])[:, None]).sum()
    for ours_one, other in zip(ours, torch.autograd.grad(by_autograd, factors), strict=True):
        torch.testing.assert_close(ours_one, other, rtol=1e-3, atol=1e-4)


def _packed_difference(model: Any) -> float:
    """Return how far two completions that share a prompt are from each of them alone."""
    prompt, tails = TOKENS[:20], (TOKENS[20:35], TOKENS[35:53])
    with torch.no_grad():
        together = token_logps(model, pack([Group(prompt, tails)]))
        alone = torch.cat([token_logps(model, pack([Group(prompt, [tail])])) for tail in tails])
    return float((together - alone).abs().mean())


@pytest.mark.slow
@pytest.mark.parametrize("name", [*TINY_FAMILIES, "qwen35"])
def test_a_trained_adapter_does_in_llama_cpp_what_it_does_in_torch(name: str, tmp_path: Path) -> None:
    described = _write(name, tmp_path / "tiny.gguf")
    bar = BAR_OF_GELU if family_of(described).gelu else BAR
    pairs = tuple(
        TokenPair(tuple(TOKENS[n : n + 8]), tuple(TOKENS[n + 8 : n + 20]), tuple(TOKENS[n + 20 : n + 30]), 0.8)
        for n in range(4)
    )
    job = TrainingJob(
        str(described.path), described.architecture, None, pairs, 3, 0.1, 4, 8, 1e-2, 3, 2, 0.1, 1.0, 0.1, None,
        threads=1, context_tokens=CONTEXT,
    )  # fmt: skip
    reports: list[dict[str, Any]] = []
    train(job, tmp_path / "run", TorchBackend(job), reports.append)
    losses = [report["loss"] for report in reports if "loss" in report]
    assert len(losses) == job.steps and losses[-1] < losses[0]
    base = load_base(described, torch.float32, torch.device("cpu"), CONTEXT)
    before = _of_torch(base)
    adapted = _of_torch(load_lora(base, tmp_path / "run" / "adapter"))
    assert _difference(before, adapted) > 0.01
    assert _difference(adapted, _of_llama(described.path, tmp_path / "run" / "adapter.gguf")) < bar


@pytest.mark.parametrize(
    ("key", "value"),
    [("nextn_predict_layers", 9), ("ssm.conv_kernel", 3), ("full_attention_interval", 2), ("feed_forward_length", 60)],
)
def test_a_file_that_does_not_fit_its_numbers_is_refused_in_one_line(key: str, value: int, tmp_path: Path) -> None:
    plain = write_tiny_qwen35(tmp_path / "plain.gguf")
    changed = copy_gguf(plain.path, tmp_path / "m.gguf", {}, numbers={f"qwen35.{key}": value})
    with pytest.raises(ConselfError) as caught:
        load_base(replace(plain, parts=(changed,)), torch.float32, torch.device("cpu"))
    assert len(caught.value.message.splitlines()) == 1


def test_every_family_has_its_proof() -> None:
    assert {tiny.architecture for tiny in TINY_FAMILIES.values()} | {"qwen35"} == set(FAMILIES)
