"""Torch with a PEFT adapter and llama.cpp with its GGUF form give the same log-probabilities for the same tokens.

The test runs on the bundled model (llama, whose Q and K are permuted), and on the file that CONSELF_PARITY_MODEL names,
for example one of qwen2.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch

from conself_local.adapters.formats import read_peft, write_gguf
from conself_local.model_files.bundled import bundled_model
from conself_local.model_files.gguf_weights import linear_tensors
from conself_local.model_files.model_file import load_model_file
from conself_local.sampling.engine_process import LlamaProcess
from conself_local.sampling.sampler import ChatMessage
from conself_local.training.torch_backend.model import add_lora, completion_logps, load_base

pytestmark = pytest.mark.model

_OTHER = os.environ.get("CONSELF_PARITY_MODEL")
ANSWERS = (
    "```python\ndef add(a, b):\n    return a + b\n```",
    "```python\ndef largest(xs):\n    best = xs[0]\n    for x in xs:\n        if x > best:\n            best = x\n    return best\n```",
)
MOVES_AT_LEAST = 0.5  # nats per token


def _train_on(model: Any, prompt: tuple[int, ...], tails: list[tuple[int, ...]], direction: float) -> None:
    """Move the answers' log-probabilities well past the bound, mostly by Q and K: up (direction 1) or down (-1)."""
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    of_attention = [p for name, p in trained.items() if "q_proj" in name or "k_proj" in name]
    others = [p for name, p in trained.items() if "q_proj" not in name and "k_proj" not in name]
    rate = 1e-2 if direction > 0 else 5e-3
    optimizer = torch.optim.Adam([{"params": of_attention, "lr": rate}, {"params": others, "lr": 2e-4}])
    first: float | None = None
    for _ in range(40):
        mean = torch.cat([completion_logps(model, prompt, [t])[0] for t in tails]).mean()
        first = float(mean.detach()) if first is None else first
        if direction * (float(mean.detach()) - first) > 1.4 * MOVES_AT_LEAST:
            return
        (-direction * mean).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()
    raise AssertionError("the adapter did not move the log-probabilities")


def _differences(left: list[list[float]], right: list[list[float]]) -> float:
    gaps = [abs(a - b) for one, other in zip(left, right, strict=True) for a, b in zip(one, other, strict=True)]
    return sum(gaps) / len(gaps)


@pytest.mark.parametrize("path", [bundled_model(), *([Path(_OTHER)] if _OTHER else [])], ids=lambda path: path.stem)
def test_log_probabilities_agree_and_depend_on_the_permutation(path: Path, tmp_path: Path) -> None:
    torch.set_num_threads(2)
    described = load_model_file(path)
    is_reordered = any(not tensor.order.is_same for tensor in linear_tensors(described).values())
    right, unpermuted = tmp_path / "right.gguf", tmp_path / "unpermuted.gguf"
    with LlamaProcess(described, slots=1, context_tokens=512, threads=1) as engine:
        question = [ChatMessage("user", "Write a Python function.")]
        prompt = engine.encode(question).token_ids
        tails = [engine.encode(question, answer).token_ids[len(prompt) :] for answer in ANSWERS]
        model = add_lora(load_base(described, torch.float32, torch.device("cpu")), 16, 32, seed=1)
        _train_on(model, prompt, tails, 1.0 if is_reordered else -1.0)
        model.save_pretrained(str(tmp_path / "peft"), save_embedding_layers=False)
        write_gguf(read_peft(tmp_path / "peft"), described, right)
        write_gguf(read_peft(tmp_path / "peft"), described, unpermuted, permute=False)
        llama = {
            name: [engine.score(prompt, tail, adapter) for tail in tails]
            for name, adapter in (("base", None), ("adapter", right), ("unpermuted", unpermuted))
        }
    with torch.no_grad():
        with model.disable_adapter():
            torch_base = [completion_logps(model, prompt, [t])[0].tolist() for t in tails]
        torch_adapter = [completion_logps(model, prompt, [t])[0].tolist() for t in tails]
    without, with_adapter = _differences(torch_base, llama["base"]), _differences(torch_adapter, llama["adapter"])
    wrong, moved = _differences(torch_adapter, llama["unpermuted"]), _differences(torch_base, torch_adapter)
    print(
        f"mean |torch - llama.cpp|, nats per token: base {without:.4f}, adapter {with_adapter:.4f}, "
        f"Q and K unpermuted {wrong:.4f}; the adapter moves them by {moved:.4f}"
    )
    assert moved >= MOVES_AT_LEAST
    bound = 2 * without
    assert with_adapter <= bound
    if is_reordered:
        assert wrong > 2 * bound, "the same bound must fail if Q and K are not permuted"
