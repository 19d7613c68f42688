"""Positions are computed as llama.cpp computes them, and what is computed in another way is refused by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from conself_local.errors import ConselfError
from conself_local.model_files.gguf_weights import linear_tensors, read_weights
from conself_local.model_files.metadata import Metadata
from conself_local.model_files.rope import rope, sliding_rope
from tests.fakes.copied_gguf import copy_gguf
from tests.fakes.tiny_families import TINY_FAMILIES, TinyFamily, write_tiny_family


def _metadata(values: Mapping[str, object]) -> Metadata:
    base = {"embedding_length": 64, "attention.head_count": 8, "context_length": 4096, "rope.freq_base": 10000.0}
    merged: dict[str, object] = {f"llama.{key}": value for key, value in {**base, **values}.items()}
    return Metadata("llama", merged.get, "m.gguf")


def test_worked_numbers_of_the_frequencies() -> None:
    plain = rope(_metadata({}), {}, 0)
    assert plain.inverse_frequencies == pytest.approx([1, 0.1, 0.01, 0.001]) and plain.scale == 1
    for keys in ({"rope.scaling.factor": 4.0}, {"rope.scale_linear": 4.0}):
        assert rope(_metadata(keys), {}, 0).inverse_frequencies == pytest.approx([0.25, 0.025, 0.0025, 0.00025])
    none = {"rope.scaling.type": "none", "rope.scaling.factor": 4.0}
    assert rope(_metadata(none), {}, 0).inverse_frequencies == pytest.approx([1, 0.1, 0.01, 0.001])
    factors = {"rope_freqs.weight": np.array([1, 2, 5, 8], np.float32)}
    assert rope(_metadata({}), factors, 0).inverse_frequencies == pytest.approx([1, 0.05, 0.002, 0.000125])
    yarn = {"rope.scaling.type": "yarn", "rope.scaling.factor": 4.0, "rope.scaling.original_context_length": 1024}
    scaled = rope(_metadata(yarn), {}, 0)
    assert scaled.scale == pytest.approx(1.1386294) and scaled.inverse_frequencies[0] == 1
    assert scaled.inverse_frequencies[-1] == pytest.approx(0.00025)


def test_long_factors_are_used_beyond_the_original_context_only() -> None:
    metadata = _metadata({"rope.scaling.original_context_length": 1024})
    factors = {"rope_factors_long.weight": np.full(4, 2.0), "rope_factors_short.weight": np.full(4, 4.0)}
    short, long = (rope(metadata, factors, context).inverse_frequencies[0] for context in (1024, 1025))
    assert (short, long) == (0.25, 0.5)


def test_sliding_layers_have_a_base_of_their_own_and_no_scaling() -> None:
    scaled = _metadata({"rope.freq_base": 1e6, "rope.scaling.factor": 8.0})
    assert sliding_rope(scaled, 10000.0).inverse_frequencies == pytest.approx([1, 0.1, 0.01, 0.001])
    stated = _metadata({"rope.freq_base_swa": 1e8})
    assert sliding_rope(stated, 10000.0).inverse_frequencies == pytest.approx([1, 0.01, 1e-4, 1e-6])


_LLAMA = TINY_FAMILIES["llama"]
REFUSED = {
    "in a way that is not known here": replace(
        _LLAMA, metadata={"rope.scaling.type": "su", "rope.scaling.factor": 2.0}
    ),
    "no usable value for llama.rope.scaling.factor": replace(_LLAMA, metadata={"rope.scaling.factor": "much"}),
    "factors of frequencies that cannot be used": replace(_LLAMA, outer={"rope_freqs.weight": [1.0, 2.0]}),
    "unknown tensor cls.output.weight": replace(_LLAMA, outer={"cls.output.weight": [1.0]}),
    "unknown tensor blk.0.attn_q.scale": replace(_LLAMA, outer={"blk.0.attn_q.scale": [1.0]}),
    "unknown tensor blk.0.attn_qkv.weight": replace(_LLAMA, fused_attention=True),
    "without positions": replace(
        TINY_FAMILIES["granite"], metadata={**TINY_FAMILIES["granite"].metadata, "rope.scaling.finetuned": False}
    ),
    "its experts are stacked in one tensor": TinyFamily("qwen3moe"),
    "its tensors are not known here": TinyFamily("starcoder"),
}


@pytest.mark.parametrize("why", REFUSED)
def test_what_is_not_computed_as_llama_cpp_computes_it_is_refused_by_name(why: str, tmp_path: Path) -> None:
    model = write_tiny_family(tmp_path / "m.gguf", REFUSED[why])
    with pytest.raises(ConselfError, match=why) as caught:
        read_weights(model)
    assert "sampled" in caught.value.hint or "damaged" in caught.value.hint


HOSTILE = {
    "block_count": ("gemma3", "block_count", 2_000_000_000),
    "embedding_length": ("llama", "embedding_length", 2**31 - 1),
    "rope.dimension_count": ("llama", "rope.dimension_count", 200_000_000),
    "odd dimensions": ("llama", "rope.dimension_count", 7),
    "attention.key_length": ("llama-key-length", "attention.key_length", 100_000_000),
    "attention.head_count": ("llama", "attention.head_count", 0),
    "feed_forward_length": ("llama", "feed_forward_length", -1),
    "rope.freq_base": ("llama", "rope.freq_base", -5.0),
    "rope.scaling.factor": ("llama", "rope.scaling.factor", -4.0),
    "rope.scaling.attn_factor": ("llama", "rope.scaling.attn_factor", 0.0),
    "attention.layer_norm_rms_epsilon": ("llama", "attention.layer_norm_rms_epsilon", -1.0),
    "logit_scale": ("granite", "logit_scale", 0.0),
    "attention.sliding_window": ("gemma3", "attention.sliding_window", 0),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_numbers_that_cannot_be_are_refused_at_once(case: str, tmp_path: Path) -> None:
    """Prevent a regression: they took gigabytes and minutes, or made every log-probability NaN."""
    name, key, value = HOSTILE[case]
    plain = write_tiny_family(tmp_path / "plain.gguf", TINY_FAMILIES[name])
    changed = copy_gguf(plain.path, tmp_path / "m.gguf", {}, numbers={f"{plain.architecture}.{key}": value})
    with pytest.raises(ConselfError):
        read_weights(replace(plain, parts=(changed,)))


def test_a_linear_map_has_two_dimensions(tmp_path: Path) -> None:
    tiny = replace(_LLAMA, biases=())
    plain = write_tiny_family(tmp_path / "plain.gguf", tiny)
    changed = copy_gguf(plain.path, tmp_path / "m.gguf", {}, shapes={"blk.0.attn_v.weight": (2, 8, 32)})
    with pytest.raises(ConselfError, match="a linear map has 2"):
        read_weights(replace(plain, parts=(changed,)))


def test_a_file_of_several_sections_of_positions_is_refused(tmp_path: Path) -> None:
    """Vision files of GLM-4 rotate rows in another way."""
    plain = write_tiny_family(tmp_path / "plain.gguf", TINY_FAMILIES["glm4"])
    changed = copy_gguf(plain.path, tmp_path / "m.gguf", {"glm4.rope.dimension_sections": [2, 1, 1, 0]})
    with pytest.raises(ConselfError, match="several sections"):
        read_weights(replace(plain, parts=(changed,)))


def test_memory_counts_the_size_of_heads(tmp_path: Path) -> None:
    """Prevent a regression: heads larger than their share of the width were forecast too small."""
    narrow = write_tiny_family(tmp_path / "narrow.gguf", _LLAMA)
    wide = write_tiny_family(tmp_path / "wide.gguf", TINY_FAMILIES["llama-key-length"])
    assert (narrow.kv_bytes_per_token, wide.kv_bytes_per_token) == (2 * 4 * 2 * 16, 2 * 4 * 2 * 32)


def test_orders_name_every_row_once(tmp_path: Path) -> None:
    model = write_tiny_family(tmp_path / "m.gguf", _LLAMA)
    query = linear_tensors(model)["model.layers.0.self_attn.q_proj"]
    assert query.order.rows is not None and sorted(query.order.rows) == list(range(32))
    assert list(query.order.rows[:8]) == [0, 2, 4, 6, 1, 3, 5, 7], (
        "a head of eight rows: the file interleaves its halves"
    )
