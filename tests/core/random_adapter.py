"""A GGUF LoRA of random values on one projection of every layer: large enough to change what a model says."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np

from conself_local.sampling.gguf_file import ModelFile

RANK = 4


def write_random_adapter(target: Path, model: ModelFile, seed: int) -> Path:
    random = np.random.default_rng(seed)
    writer = gguf.GGUFWriter(str(target), model.architecture)
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", float(RANK))
    width = model.embedding_length
    for layer in range(model.block_count):
        for side, shape in (("a", (RANK, width)), ("b", (width, RANK))):
            values = (random.standard_normal(shape) * 0.1).astype(np.float32)
            writer.add_tensor(f"blk.{layer}.attn_output.weight.lora_{side}", values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return target
