"""Torch with a PEFT adapter and llama.cpp with its GGUF form say the same of the same tokens, on the bundled model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from conself_local.bundled import bundled_model
from conself_local.sampling.gguf_file import load_model_file
from conself_local.sampling.llama_process import LlamaProcess
from conself_local.sampling.sampler import ChatMessage
from conself_local.training.adapter_gguf import write_gguf_adapter
from conself_local.training.torch_model import add_lora, completion_logps, load_base

ANSWERS = (
    "```python\ndef add(a, b):\n    return a + b\n```",
    "```python\ndef largest(xs):\n    best = xs[0]\n    for x in xs:\n        if x > best:\n            best = x\n    return best\n```",
)
MOVES_AT_LEAST = 0.5  # nats a token


@pytest.fixture(scope="module")
def moved_model(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """The bundled model in float32 with an adapter whose B is random and large, and the adapter's PEFT folder."""
    torch.set_num_threads(2)
    model = add_lora(load_base(bundled_model(), torch.float32, torch.device("cpu")), 16, 32, seed=1)
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.copy_(0.02 * torch.randn(parameter.shape, generator=generator))
    folder = tmp_path_factory.mktemp("peft")
    model.save_pretrained(str(folder), save_embedding_layers=False)
    return model, folder


def _differences(left: list[list[float]], right: list[list[float]]) -> float:
    gaps = [abs(a - b) for one, other in zip(left, right, strict=True) for a, b in zip(one, other, strict=True)]
    return sum(gaps) / len(gaps)


def test_log_probabilities_agree_and_depend_on_the_permutation(moved_model: tuple[Any, Path], tmp_path: Path) -> None:
    model, folder = moved_model
    described = load_model_file(bundled_model())
    right, unpermuted = tmp_path / "right.gguf", tmp_path / "unpermuted.gguf"
    write_gguf_adapter(folder, described.path, right)
    write_gguf_adapter(folder, described.path, unpermuted, permute=False)
    with LlamaProcess(described, slots=1, context_tokens=512, threads=2) as engine:
        question = [ChatMessage("user", "Write a Python function.")]
        prompt = engine.encode(question)
        tails = [engine.encode(question, answer).token_ids[len(prompt.token_ids) :] for answer in ANSWERS]
        llama = {
            name: [engine.score(prompt.token_ids, tail, adapter) for tail in tails]
            for name, adapter in (("base", None), ("adapter", right), ("unpermuted", unpermuted))
        }
    with torch.no_grad():
        with model.disable_adapter():
            torch_base = [completion_logps(model, prompt.token_ids, [t])[0].tolist() for t in tails]
        torch_adapter = [completion_logps(model, prompt.token_ids, [t])[0].tolist() for t in tails]
    without, with_adapter = _differences(torch_base, llama["base"]), _differences(torch_adapter, llama["adapter"])
    wrong, moved = _differences(torch_adapter, llama["unpermuted"]), _differences(torch_base, torch_adapter)
    print(f"mean |torch - llama.cpp|, nats a token: base {without:.4f}, adapter {with_adapter:.4f}, "
          f"Q and K unpermuted {wrong:.4f}; the adapter moves them by {moved:.4f}")  # fmt: skip
    assert moved >= MOVES_AT_LEAST
    assert with_adapter <= max(1.5 * without, 0.02)
    assert wrong > 5 * max(with_adapter, without)

