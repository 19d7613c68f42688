"""Write GGUF models with recurrent layers and random weights that llama.cpp loads: Mamba, and the hybrid LFM2."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np

from conself_local.model_files.model_file import ModelFile, load_model_file
from tests.fakes.tiny_model import TEMPLATE

WIDTH, HIDDEN, LAYERS, VOCABULARY = 32, 64, 2, 96
INNER, STATE, KERNEL, RANK = 64, 16, 4, 2
"""Sizes of Mamba's layers."""
CACHE = 3
"""Length of LFM2's short convolution."""


def write_tiny_mamba(target: Path) -> ModelFile:
    """Write a Mamba model, which has no attention, and return its description."""
    writer = _begin(target, "mamba")
    writer.add_head_count(0)
    writer.add_ssm_conv_kernel(KERNEL)
    writer.add_ssm_inner_size(INNER)
    writer.add_ssm_state_size(STATE)
    writer.add_ssm_time_step_rank(RANK)
    tensors: dict[str, tuple[int, ...]] = {"output_norm.weight": (WIDTH,)}
    for n in range(LAYERS):
        tensors |= {
            f"blk.{n}.attn_norm.weight": (WIDTH,),
            f"blk.{n}.ssm_in.weight": (2 * INNER, WIDTH),
            f"blk.{n}.ssm_conv1d.weight": (INNER, KERNEL),
            f"blk.{n}.ssm_conv1d.bias": (INNER,),
            f"blk.{n}.ssm_x.weight": (RANK + 2 * STATE, INNER),
            f"blk.{n}.ssm_dt.weight": (INNER, RANK),
            f"blk.{n}.ssm_dt.bias": (INNER,),
            f"blk.{n}.ssm_d": (INNER,),
            f"blk.{n}.ssm_out.weight": (WIDTH, INNER),
        }
        writer.add_tensor(f"blk.{n}.ssm_a", -np.tile(np.arange(1, STATE + 1, dtype=np.float32), (INNER, 1)))
    return _end(writer, target, tensors)


def write_tiny_hybrid(target: Path) -> ModelFile:
    """Write an LFM2 model of one layer with a short convolution and one with attention; return its description."""
    writer = _begin(target, "lfm2")
    writer.add_feed_forward_length(HIDDEN)
    writer.add_head_count(4)
    writer.add_head_count_kv([0, 2])
    writer.add_rope_freq_base(10000.0)
    writer.add_uint32("lfm2.shortconv.l_cache", CACHE)
    tensors: dict[str, tuple[int, ...]] = {"token_embd_norm.weight": (WIDTH,)}
    for n in range(LAYERS):
        tensors |= {
            f"blk.{n}.attn_norm.weight": (WIDTH,),
            f"blk.{n}.ffn_norm.weight": (WIDTH,),
            f"blk.{n}.ffn_gate.weight": (HIDDEN, WIDTH),
            f"blk.{n}.ffn_up.weight": (HIDDEN, WIDTH),
            f"blk.{n}.ffn_down.weight": (WIDTH, HIDDEN),
        }
    tensors |= {
        "blk.0.shortconv.conv.weight": (WIDTH, CACHE),
        "blk.0.shortconv.in_proj.weight": (3 * WIDTH, WIDTH),
        "blk.0.shortconv.out_proj.weight": (WIDTH, WIDTH),
        "blk.1.attn_q.weight": (WIDTH, WIDTH),
        "blk.1.attn_k.weight": (WIDTH // 2, WIDTH),
        "blk.1.attn_v.weight": (WIDTH // 2, WIDTH),
        "blk.1.attn_output.weight": (WIDTH, WIDTH),
        "blk.1.attn_q_norm.weight": (WIDTH // 4,),
        "blk.1.attn_k_norm.weight": (WIDTH // 4,),
    }
    return _end(writer, target, tensors)


def _begin(target: Path, architecture: str) -> gguf.GGUFWriter:
    writer = gguf.GGUFWriter(str(target), architecture)
    writer.add_context_length(512)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(VOCABULARY)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list([f"t{i}" for i in range(VOCABULARY)])
    writer.add_token_merges([f"t {digit}" for digit in range(10)])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_chat_template(TEMPLATE)
    return writer


def _end(writer: gguf.GGUFWriter, target: Path, tensors: dict[str, tuple[int, ...]]) -> ModelFile:
    random = np.random.default_rng(0)
    for name, shape in {"token_embd.weight": (VOCABULARY, WIDTH), **tensors}.items():
        values = random.standard_normal(shape)
        values = 1 + 0.1 * values if "norm" in name else 1.5 * values / np.sqrt(shape[-1])
        writer.add_tensor(name, values.astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return load_model_file(target)
