"""The bundled model as a folder of MLX weights is the same model: prompt, token ids and log-probabilities."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean

import pytest

pytest.importorskip("mlx.core")

import mlx.core as mx

from conself_local.model_files.bundled import bundled_model
from conself_local.model_files.converted_weights import ensure_converted_weights
from conself_local.model_files.mlx_folder import load_mlx_folder
from conself_local.model_files.model_file import load_model_file
from conself_local.sampling.engine_process import LlamaProcess, MlxProcess
from conself_local.sampling.sampler import ChatMessage, SampleRequest
from tests.fakes.mlx_of_gguf import write_mlx_of_gguf

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

TOKENS = 64
QUESTION = [ChatMessage("user", "Write a Python function that returns the largest number of a list.")]
LARGEST_GAP = 0.1
"""Nats per token."""


def test_a_folder_of_the_bundled_models_own_values_answers_as_llama_cpp_does(tmp_path: Path) -> None:
    model = load_model_file(bundled_model())
    folder = load_mlx_folder(write_mlx_of_gguf(model, tmp_path / "SmolLM2", mx.bfloat16))
    assert folder.chat_template == model.chat_template and folder.vocabulary == model.vocabulary
    assert (folder.block_count, folder.kv_bytes_per_token) == (model.block_count, model.kv_bytes_per_token)
    weights = ensure_converted_weights(model, "BF16", tmp_path / "cache")
    with LlamaProcess(model, slots=1, context_tokens=512, threads=2, weights=weights) as engine:
        prompt = engine.encode(QUESTION)
        (answer,) = engine.sample([SampleRequest("a", prompt.token_ids, 0.0, 1.0, TOKENS, 1)])
        of_llama = engine.score(prompt.token_ids, answer.token_ids)
    assert len(answer.token_ids) == TOKENS
    with MlxProcess(folder, slots=1, context_tokens=512) as engine:
        assert engine.encode(QUESTION) == prompt
        of_mlx = engine.score(prompt.token_ids, answer.token_ids)
    gap = fmean(abs(a - b) for a, b in zip(of_llama, of_mlx, strict=True))
    print(f"mean |MLX - llama.cpp|: {gap:.4f} nats per token over {TOKENS} tokens")
    assert gap <= LARGEST_GAP
