"""Write a GGUF model of some 22,000 random weights, for fast tests of what must hold for every model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np

from conself_local.model_files.model_file import ModelFile, load_model_file

LAYERS, WIDTH, HIDDEN, HEADS, KV_HEADS, VOCABULARY = 2, 32, 64, 4, 2, 96


LETTERS, FIRST_LETTER = "abcdefghijklmnopqrstuvwxyz0123456789", 10
TEMPLATE = "{% for m in messages %}{{ m.content }}{% endfor %}"
"""A chat template that joins the messages' contents."""


def write_tiny_model(
    target: Path,
    architecture: str = "llama",
    *,
    tied: bool = True,
    seed: int = 0,
    template: str = TEMPLATE,
    tensors_per_part: int = 0,
    letters: bool = False,
    edit: Callable[[gguf.GGUFWriter], None] = lambda writer: None,
) -> ModelFile:
    """Write the model to `target`, and return its description; `tied`: the output layer uses the embedding's weights.

    With `tensors_per_part` it is split: `tiny.gguf` becomes `tiny-00001-of-00004.gguf` and so on, as llama.cpp names
    parts. `edit` may add metadata. With `letters`, the tokens after the first ten are `LETTERS`, so that texts can be
    tokenised, and t1 and t2 are control tokens; else no text has tokens.
    """
    random = np.random.default_rng(seed)
    writer = gguf.GGUFWriter(str(target), architecture, split_max_tensors=tensors_per_part)
    writer.add_name("tiny")
    writer.add_context_length(256)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(HIDDEN)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_tokenizer_model("gpt2")
    tokens = [f"t{i}" for i in range(VOCABULARY)]
    if letters:
        tokens[FIRST_LETTER : FIRST_LETTER + len(LETTERS)] = LETTERS
        writer.add_token_types([3 if i in (1, 2) else 1 for i in range(VOCABULARY)])
    writer.add_token_list(tokens)
    writer.add_token_merges([f"t {digit}" for digit in range(10)])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_chat_template(template)
    edit(writer)

    def add(name: str, *shape: int) -> None:
        values = (
            1 + 0.1 * random.standard_normal(shape)
            if "norm" in name
            else random.standard_normal(shape) / np.sqrt(shape[-1])
        )
        writer.add_tensor(name, values.astype(np.float32))

    kv = WIDTH // HEADS * KV_HEADS
    add("token_embd.weight", VOCABULARY, WIDTH)
    add("output_norm.weight", WIDTH)
    if not tied:
        add("output.weight", VOCABULARY, WIDTH)
    for n in range(LAYERS):
        for name, shape in (
            ("attn_norm", (WIDTH,)),
            ("ffn_norm", (WIDTH,)),
            ("attn_q", (WIDTH, WIDTH)),
            ("attn_k", (kv, WIDTH)),
            ("attn_v", (kv, WIDTH)),
            ("attn_output", (WIDTH, WIDTH)),
            ("ffn_gate", (HIDDEN, WIDTH)),
            ("ffn_up", (HIDDEN, WIDTH)),
            ("ffn_down", (WIDTH, HIDDEN)),
        ):
            add(f"blk.{n}.{name}.weight", *shape)
            if architecture == "qwen2" and name in ("attn_q", "attn_k", "attn_v"):
                add(f"blk.{n}.{name}.bias", shape[0])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return load_model_file(min(target.parent.glob(f"{target.stem}-?????-of-*.gguf")) if tensors_per_part else target)
