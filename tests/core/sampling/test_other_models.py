"""Split models and models with recurrent layers give the answers that they must give, through the real engine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
import pytest

from conself_local.adapters.formats import write_gguf
from conself_local.model_files.converted_weights import write_single_file
from conself_local.model_files.model_file import ModelFile, load_model_file
from conself_local.sampling.open_engine import open_llama
from conself_local.sampling.sampler import SampleRequest
from tests.fakes.random_adapter import random_adapter
from tests.fakes.tiny_families import TINY_FAMILIES, write_tiny_family
from tests.fakes.tiny_model import write_tiny_model
from tests.fakes.tiny_qwen35 import write_tiny_qwen35
from tests.fakes.tiny_recurrent import write_tiny_hybrid, write_tiny_mamba

pytestmark = pytest.mark.model
PROMPT = tuple(int(token) for token in np.random.default_rng(1).integers(3, 96, 40))


def _answers(
    model: ModelFile, cache: Path, weights_format: str = "shipped", slots: int = 1, temperature: float = 0.0
) -> dict[str, list[int]]:
    """Return the answers to twelve prompts that begin alike; by default the greedy ones."""
    requests = [
        SampleRequest(str(n), (*PROMPT[: 40 - n % 3], 5 + n % 4), temperature, 1.0, 12 + 3 * (n % 5), n)
        for n in range(12)
    ]
    with open_llama(model, weights_format, cache, slots=slots, threads=1, longest=256, use_gpu=False) as engine:
        return {done.key: list(done.token_ids) for done in engine.sample(requests)}


def test_a_split_model_answers_as_the_whole_one(tmp_path: Path) -> None:
    whole = write_tiny_model(tmp_path / "whole.gguf")
    split = write_tiny_model(tmp_path / "split.gguf", tensors_per_part=6)
    for weights_format in ("shipped", "F16"):
        expected = _answers(whole, tmp_path / "cache", weights_format)
        assert len(expected) == 12 and len({tuple(tokens) for tokens in expected.values()}) > 1
        assert _answers(split, tmp_path / "cache", weights_format) == expected


def test_a_split_model_that_was_joined_holds_and_answers_the_same(tmp_path: Path) -> None:
    split = write_tiny_model(tmp_path / "split.gguf", tensors_per_part=6)
    write_single_file(split, tmp_path / "joined.gguf")
    joined = load_model_file(tmp_path / "joined.gguf")
    assert len(joined.parts) == 1 and (joined.weights, joined.formats) == (split.weights, split.formats)
    assert _answers(joined, tmp_path) == _answers(split, tmp_path)


def test_answers_end_at_the_end_of_a_turn_if_the_file_names_no_end_of_text(tmp_path: Path) -> None:
    """Without the key llama.cpp takes token 11, which ends answers in their middle."""

    def only_end_of_turn(writer: gguf.GGUFWriter) -> None:
        writer.kv_data[0].pop("tokenizer.ggml.eos_token_id")
        writer.add_eot_token_id(2)

    expected = _answers(write_tiny_model(tmp_path / "both.gguf"), tmp_path, temperature=2.0)
    assert any(11 in tokens[:-1] for tokens in expected.values()), "an answer holds what llama.cpp would end at"
    model = write_tiny_model(tmp_path / "turn.gguf", edit=only_end_of_turn)
    assert model.end_token == 2 and model.special_tokens["eos_token"] == "t2"
    assert _answers(model, tmp_path, temperature=2.0) == expected


def _write_tiny_gemma(path: Path) -> ModelFile:
    return write_tiny_family(path, TINY_FAMILIES["gemma3"])


@pytest.mark.parametrize("write", [write_tiny_mamba, write_tiny_hybrid, write_tiny_qwen35, _write_tiny_gemma])
def test_many_slots_give_the_answers_of_one(write: Callable[[Path], ModelFile], tmp_path: Path) -> None:
    """A copied prefix used to end in `llama.cpp could not decode a batch`: a state cannot be cut to a prefix.

    Layers that see a window only keep their whole cache, so their prefixes are shared.
    """
    model = write(tmp_path / "m.gguf")
    alone = _answers(model, tmp_path)
    assert len({tuple(tokens) for tokens in alone.values()}) > 1
    assert _answers(model, tmp_path, slots=4) == alone


@pytest.mark.parametrize("write", [write_tiny_qwen35, _write_tiny_gemma])
def test_an_adapter_is_switched_between_requests(write: Callable[[Path], ModelFile], tmp_path: Path) -> None:
    model = write(tmp_path / "m.gguf")
    adapter = tmp_path / "adapter.gguf"
    write_gguf(random_adapter(model, 0.2), model, adapter)
    with open_llama(model, "shipped", tmp_path, slots=3, threads=1, longest=256, use_gpu=False) as engine:
        requests = [
            SampleRequest(str(n), PROMPT, 0.0, 1.0, 12, n, adapter=adapter if n % 2 else None) for n in range(8)
        ]
        answers = {done.key: done.token_ids for done in engine.sample(requests)}
        assert len(set(answers.values())) == 2 and answers["0"] == answers["2"] != answers["1"] == answers["3"]
        base, adapted = engine.score(PROMPT, answers["0"]), engine.score(PROMPT, answers["0"], adapter)
        assert sum(base) > sum(adapted) and engine.score(PROMPT, answers["0"]) == base
