"""Write GGUF models of random weights for every family that can be trained, with awkward values.

Heads whose size is not the width divided among them, windows shorter than a test's text, factors that are not 1: what
a reader overlooks changes every log-probability.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import gguf
import numpy as np

from conself_local.model_files.model_file import ModelFile, load_model_file

VOCABULARY, WIDTH, HIDDEN, HEADS, KV_HEADS = 96, 32, 64, 4, 2
TEMPLATE = "{% for m in messages %}{{ m.content }}{% endfor %}"
BIASES = ("attn_q", "attn_k", "attn_v")
ALL_BIASES = (*BIASES, "attn_output", "ffn_gate", "ffn_up", "ffn_down")
AROUND = ("attn_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm")
AFTER = ("post_attention_norm", "post_ffw_norm")
YARN: dict[str, str | int | float | bool] = {
    "rope.scaling.type": "yarn",
    "rope.scaling.factor": 4.0,
    "rope.scaling.original_context_length": 64,
}


@dataclass(frozen=True)
class TinyFamily:
    """What a tiny file has beside the usual parts."""

    architecture: str
    layers: int = 4
    key_length: int | None = None
    metadata: Mapping[str, str | int | float | bool] = field(default_factory=dict)
    """Keys without the architecture's name."""
    outer: dict[str, list[float]] = field(default_factory=dict)
    """Tensors outside of layers, with their values."""
    norms: tuple[str, ...] = ("attn_norm", "ffn_norm")
    head_norms: str = ""
    """`head`: norms of Q and K over each head; `whole`: over all heads."""
    biases: tuple[str, ...] = ()
    fused_attention: bool = False
    mlp: str = "gated"
    """`gated`, `plain` (no gate), or `fused` (gate and up in one map)."""
    layer_norm: bool = False
    """Norms that also subtract the mean, with biases."""
    tied: bool = True
    context: int = 256


_GRANITE = {"attention.scale": 0.2, "embedding_scale": 3.0, "residual_scale": 0.4, "logit_scale": 2.0}
_GEMMA2 = {"attention.sliding_window": 8, "attn_logit_softcapping": 5.0, "final_logit_softcapping": 3.0}
_LONG = {"rope_factors_long.weight": [1.0, 4.0, 9.0], "rope_factors_short.weight": [1.0, 1.1, 1.5]}
_PHI3 = TinyFamily("phi3", fused_attention=True, mlp="fused")
_GEMMA3 = TinyFamily("gemma3", 7, 16, {"attention.sliding_window": 8}, norms=AROUND, head_norms="head")
TINY_FAMILIES = {
    "llama": TinyFamily("llama"),
    "llama-3": TinyFamily("llama", outer={"rope_freqs.weight": [1.0, 2.0, 5.0, 8.0]}),
    "llama-linear": TinyFamily("llama", metadata={"rope.scaling.type": "linear", "rope.scaling.factor": 4.0}),
    "llama-old-linear": TinyFamily("llama", metadata={"rope.scale_linear": 4.0}),
    "llama-factor-without-type": TinyFamily("llama", metadata={"rope.scaling.factor": 4.0}),
    "llama-yarn": TinyFamily("llama", metadata=YARN),
    "llama-key-length": TinyFamily("llama", key_length=16, metadata={"rope.dimension_count": 16}, tied=False),
    "llama-biases": TinyFamily("llama", biases=ALL_BIASES),
    "qwen2": TinyFamily("qwen2", biases=BIASES),
    "qwen2-yarn": TinyFamily("qwen2", biases=BIASES, metadata=YARN),
    "qwen3": TinyFamily("qwen3", key_length=16, head_norms="head"),
    "phi3": replace(
        _PHI3, tied=False, metadata={"rope.dimension_count": 8, "rope.scaling.original_context_length": 256}
    ),
    "phi3-short": replace(
        _PHI3,
        metadata={
            "rope.dimension_count": 6,
            "rope.scaling.original_context_length": 512,
            "rope.scaling.attn_factor": 1.19,
        },
        outer=_LONG,
    ),
    "phi3-long": replace(
        _PHI3,
        metadata={
            "rope.dimension_count": 6,
            "rope.scaling.original_context_length": 64,
            "rope.scaling.attn_factor": 1.19,
        },
        outer=_LONG,
    ),
    "granite": TinyFamily("granite", metadata={**_GRANITE, "rope.dimension_count": 8}),
    "smollm3": TinyFamily("smollm3", layers=8),
    "seed_oss": TinyFamily("seed_oss", key_length=16, biases=BIASES, norms=("attn_norm", "post_attention_norm")),
    "starcoder2": TinyFamily(
        "starcoder2", layer_norm=True, mlp="plain", biases=(*BIASES, "attn_output", "ffn_up", "ffn_down")
    ),
    "mistral3": TinyFamily(
        "mistral3",
        key_length=16,
        metadata={
            "rope.dimension_count": 16,
            **YARN,
            "rope.scaling.original_context_length": 16,
            "rope.scaling.yarn_log_multiplier": 1.0,
            "attention.temperature_scale": 0.1,
        },
    ),
    "gemma2": TinyFamily("gemma2", key_length=16, norms=AROUND, metadata=_GEMMA2),
    "gemma3": _GEMMA3,
    "gemma3-linear": replace(
        _GEMMA3,
        metadata={"attention.sliding_window": 8, "rope.scaling.type": "linear", "rope.scaling.factor": 8.0},
    ),
    "olmo2": TinyFamily("olmo2", head_norms="whole", norms=AFTER, tied=False),
    "olmo3": TinyFamily(
        "olmo2", 5, head_norms="whole", norms=AFTER, tied=False, metadata={"attention.sliding_window": 8}
    ),
    "glm4": TinyFamily(
        "glm4", mlp="fused", tied=False, biases=BIASES, norms=AROUND, metadata={"rope.dimension_count": 4}
    ),
    "exaone4": TinyFamily("exaone4", head_norms="head", norms=AFTER),
    "hunyuan-dense": TinyFamily("hunyuan-dense", key_length=16, head_norms="head"),
    "ernie4_5": TinyFamily("ernie4_5", key_length=16),
    "arcee": TinyFamily("arcee", mlp="plain"),
}
"""Name of a variant -> how its file is written."""


def write_tiny_family(target: Path, tiny: TinyFamily) -> ModelFile:
    """Write the model to `target`, always with the same weights, and return its description."""
    random = np.random.default_rng(0)
    writer = gguf.GGUFWriter(str(target), tiny.architecture)
    _write_metadata(writer, tiny)

    def add(name: str, *shape: int) -> None:
        if "norm" in name and not name.endswith("bias"):
            values = 1 + 0.3 * random.standard_normal(shape)
        else:
            values = random.standard_normal(shape) / np.sqrt(shape[-1]) * (1.5 if len(shape) > 1 else 1)
        writer.add_tensor(name, values.astype(np.float32))

    add("token_embd.weight", VOCABULARY, WIDTH)
    add("output_norm.weight", WIDTH)
    if tiny.layer_norm:
        add("output_norm.bias", WIDTH)
    if not tiny.tied:
        add("output.weight", VOCABULARY, WIDTH)
    for name, factors in tiny.outer.items():
        writer.add_tensor(name, np.asarray(factors, np.float32))
    for layer in range(tiny.layers):
        for name, shape in _layer(tiny):
            add(f"blk.{layer}.{name}.weight", *shape)
            if name in tiny.biases or (tiny.layer_norm and "norm" in name):
                add(f"blk.{layer}.{name}.bias", shape[0])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return load_model_file(target)


def _write_metadata(writer: Any, tiny: TinyFamily) -> None:
    writer.add_name("tiny")
    writer.add_context_length(tiny.context)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(tiny.layers)
    writer.add_feed_forward_length(HIDDEN)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    (writer.add_layer_norm_eps if tiny.layer_norm else writer.add_layer_norm_rms_eps)(1e-5)
    writer.add_rope_freq_base(10000.0)
    if tiny.key_length:
        writer.add_key_length(tiny.key_length)
        writer.add_value_length(tiny.key_length)
    add = {str: writer.add_string, int: writer.add_uint32, float: writer.add_float32, bool: writer.add_bool}
    for key, value in tiny.metadata.items():
        add[type(value)](f"{tiny.architecture}.{key}", value)
    write_tokenizer(writer)


def write_tokenizer(writer: Any) -> None:
    """Write a vocabulary that llama.cpp loads, and a chat template."""
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("default")
    writer.add_token_list([f"t{i}" for i in range(VOCABULARY)])
    writer.add_token_types([1] * VOCABULARY)
    writer.add_token_merges(["t 1"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_chat_template(TEMPLATE)


def _layer(tiny: TinyFamily) -> list[tuple[str, tuple[int, ...]]]:
    """Return (name, shape) of the weights of one layer."""
    head = tiny.key_length or WIDTH // HEADS
    q, k = HEADS * head, KV_HEADS * head
    found: list[tuple[str, tuple[int, ...]]] = [(name, (WIDTH,)) for name in tiny.norms]
    if tiny.head_norms:
        sizes = (head, head) if tiny.head_norms == "head" else (q, k)
        found += [("attn_q_norm", sizes[:1]), ("attn_k_norm", sizes[1:])]
    if tiny.fused_attention:
        found.append(("attn_qkv", (q + 2 * k, WIDTH)))
    else:
        found += [("attn_q", (q, WIDTH)), ("attn_k", (k, WIDTH)), ("attn_v", (k, WIDTH))]
    found.append(("attn_output", (WIDTH, q)))
    if tiny.mlp == "gated":
        found.append(("ffn_gate", (HIDDEN, WIDTH)))
    up = 2 * HIDDEN if tiny.mlp == "fused" else HIDDEN
    return [*found, ("ffn_up", (up, WIDTH)), ("ffn_down", (WIDTH, HIDDEN))]
