"""OpenVINO is used for a model only if its reader gives the log-probabilities of llama.cpp, proven on tiny files."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean

import numpy as np
import pytest

from conself_local.model_files.bundled import bundled_model
from conself_local.model_files.converted_weights import ensure_converted_weights
from conself_local.model_files.model_file import ModelFile, load_model_file
from conself_local.model_files.openvino_models import unreadable_reason
from conself_local.sampling.engine_process import LlamaProcess
from conself_local.sampling.openvino_process import OpenVinoProcess
from conself_local.sampling.openvino_proof import LARGEST_GAP
from tests.fakes.openvino import needs_openvino
from tests.fakes.tiny_families import TINY_FAMILIES, VOCABULARY, write_tiny_family

READ = ("llama", "llama-key-length", "qwen2", "qwen3")
READ_WRONGLY = (
    "llama-3",
    "llama-linear",
    "llama-old-linear",
    "llama-factor-without-type",
    "llama-yarn",
    "llama-biases",
    "qwen2-yarn",
)


def _gap(model: ModelFile, cache: Path) -> float:
    """Return the gap between OpenVINO in float32 and llama.cpp on random tokens, in nats per token."""
    tokens = [int(token) for token in np.random.default_rng(1).integers(3, VOCABULARY, 60)]
    prompt, completion = tokens[:20], tokens[20:]
    with LlamaProcess(model, slots=1, context_tokens=256, threads=1) as llama:
        right = llama.score(prompt, completion)
    weights = ensure_converted_weights(model, "F16", cache)
    with OpenVinoProcess(
        model, weights, slots=1, context_tokens=256, longest=256, threads=1, precision="f32"
    ) as openvino:
        read = openvino.score(prompt, completion)
    return fmean(abs(a - b) for a, b in zip(right, read, strict=True))


@pytest.mark.model
@needs_openvino
@pytest.mark.parametrize("name", READ)
def test_a_family_that_may_be_used_is_read_rightly(name: str, tmp_path: Path) -> None:
    model = write_tiny_family(tmp_path / "tiny.gguf", TINY_FAMILIES[name])
    assert unreadable_reason(model) is None
    assert _gap(model, tmp_path) < 0.02


@pytest.mark.slow
@needs_openvino
@pytest.mark.parametrize("name", READ_WRONGLY)
def test_what_is_refused_for_its_positions_or_biases_is_read_wrongly(name: str, tmp_path: Path) -> None:
    assert _gap(write_tiny_family(tmp_path / "tiny.gguf", TINY_FAMILIES[name]), tmp_path) > LARGEST_GAP


@pytest.mark.parametrize("name", sorted(set(TINY_FAMILIES) - set(READ)))
def test_every_other_variant_is_refused(name: str, tmp_path: Path) -> None:
    reason = unreadable_reason(write_tiny_family(tmp_path / "tiny.gguf", TINY_FAMILIES[name]))
    assert reason is not None and "its reader" in reason
    assert ("ignores" in reason) == (name in READ_WRONGLY)


def test_the_bundled_model_may_be_used() -> None:
    assert unreadable_reason(load_model_file(bundled_model())) is None
