"""Write a GGUF model of the hybrid Qwen3.5 with random weights: three layers of linear attention for each full one."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np

from conself_local.model_files.model_file import ModelFile, load_model_file
from tests.fakes.tiny_families import HEADS, HIDDEN, KV_HEADS, VOCABULARY, WIDTH, write_tokenizer

LAYERS, HEAD = 4, 16
KEY_HEADS, VALUE_HEADS, STATE, KERNEL = 2, 4, 8, 4
"""Sizes of the linear attention."""


def write_tiny_qwen35(target: Path) -> ModelFile:
    """Write the model to `target`, always with the same weights, and return its description."""
    writer = gguf.GGUFWriter(str(target), "qwen35")
    writer.add_name("tiny")
    writer.add_context_length(256)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(HIDDEN)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_freq_base(10000.0)
    writer.add_key_length(HEAD)
    writer.add_value_length(HEAD)
    writer.add_rope_dimension_count(8)
    writer.add_array("qwen35.rope.dimension_sections", [2, 1, 1, 0])
    for key, value in (
        ("ssm.conv_kernel", KERNEL),
        ("ssm.state_size", STATE),
        ("ssm.group_count", KEY_HEADS),
        ("ssm.time_step_rank", VALUE_HEADS),
        ("ssm.inner_size", VALUE_HEADS * STATE),
        ("full_attention_interval", LAYERS),
    ):
        writer.add_uint32(f"qwen35.{key}", value)
    write_tokenizer(writer)
    random = np.random.default_rng(0)
    for name, shape in _tensors().items():
        values = random.standard_normal(shape)
        if name.endswith("ssm_a"):
            values = -np.exp(0.5 * values)
        elif name.endswith(".bias"):
            values = 0.5 * values
        else:
            values = 1 + 0.3 * values if "norm" in name else 1.5 * values / np.sqrt(shape[-1])
        writer.add_tensor(name, values.astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return load_model_file(target)


def _tensors() -> dict[str, tuple[int, ...]]:
    found: dict[str, tuple[int, ...]] = {"token_embd.weight": (VOCABULARY, WIDTH), "output_norm.weight": (WIDTH,)}
    for layer in range(LAYERS):
        is_full = (layer + 1) % LAYERS == 0
        parts = {
            "attn_norm.weight": (WIDTH,),
            "post_attention_norm.weight": (WIDTH,),
            **(_full_attention() if is_full else _linear_attention()),
            "ffn_gate.weight": (HIDDEN, WIDTH),
            "ffn_up.weight": (HIDDEN, WIDTH),
            "ffn_down.weight": (WIDTH, HIDDEN),
        }
        found |= {f"blk.{layer}.{name}": shape for name, shape in parts.items()}
    return found


def _full_attention() -> dict[str, tuple[int, ...]]:
    return {
        "attn_q.weight": (2 * HEADS * HEAD, WIDTH),
        "attn_k.weight": (KV_HEADS * HEAD, WIDTH),
        "attn_v.weight": (KV_HEADS * HEAD, WIDTH),
        "attn_output.weight": (WIDTH, HEADS * HEAD),
        "attn_q_norm.weight": (HEAD,),
        "attn_k_norm.weight": (HEAD,),
    }


def _linear_attention() -> dict[str, tuple[int, ...]]:
    values = VALUE_HEADS * STATE
    mixed = 2 * KEY_HEADS * STATE + values
    return {
        "attn_qkv.weight": (mixed, WIDTH),
        "attn_gate.weight": (values, WIDTH),
        "ssm_conv1d.weight": (mixed, KERNEL),
        "ssm_dt.bias": (VALUE_HEADS,),
        "ssm_a": (VALUE_HEADS,),
        "ssm_beta.weight": (VALUE_HEADS, WIDTH),
        "ssm_alpha.weight": (VALUE_HEADS, WIDTH),
        "ssm_norm.weight": (STATE,),
        "ssm_out.weight": (WIDTH, values),
    }
