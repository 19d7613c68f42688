"""Write GGUF models of random blocks in the shapes of real models, on the spot: what is trained does not matter here.

The blocks have the types that a Q4_K_M file has, with values of the size that real weights have, so that numbers stay
finite through all layers. A pool of blocks is repeated, so that a file of 8 GiB is written as fast as the disk takes it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
Q5_0, Q8_0, Q4_K, Q6_K = (gguf.GGMLQuantizationType[name] for name in ("Q5_0", "Q8_0", "Q4_K", "Q6_K"))
_HALVES: dict[gguf.GGMLQuantizationType, tuple[tuple[int, float], ...]] = {
    Q5_0: ((0, 1.0),),
    Q8_0: ((0, 1.0),),
    Q4_K: ((0, 1.0), (2, 7.5)),
    Q6_K: ((208, 1.0),),
}
"""Type -> places of the 16-bit scales in a block, and their ratio; that of Q4_K makes the mean of its values 0."""
_POOL_BLOCKS = 4096
TEMPLATE = "{% for m in messages %}{{ m.content }}{% endfor %}"


@dataclass(frozen=True)
class Shape:
    """The sizes of a model of the family qwen2."""

    name: str
    layers: int
    width: int
    hidden: int
    heads: int
    kv_heads: int
    vocabulary: int
    tied: bool
    main: gguf.GGMLQuantizationType = Q4_K
    finer: gguf.GGMLQuantizationType = Q6_K
    """The type of the output head, and of V and the second map of the MLP in every other layer."""

    def tensors(self) -> Iterator[tuple[str, tuple[int, ...], gguf.GGMLQuantizationType | None]]:
        """Yield the name, shape and type of every tensor; None: 32-bit floats."""
        kv = self.width // self.heads * self.kv_heads
        yield "token_embd.weight", (self.vocabulary, self.width), self.finer if self.tied else self.main
        if not self.tied:
            yield "output.weight", (self.vocabulary, self.width), self.finer
        yield "output_norm.weight", (self.width,), None
        for n in range(self.layers):
            fine = self.finer if n % 2 else self.main
            for name, shape, quant_type in (
                ("attn_norm.weight", (self.width,), None),
                ("ffn_norm.weight", (self.width,), None),
                ("attn_q.weight", (self.width, self.width), self.main),
                ("attn_q.bias", (self.width,), None),
                ("attn_k.weight", (kv, self.width), self.main),
                ("attn_k.bias", (kv,), None),
                ("attn_v.weight", (kv, self.width), fine),
                ("attn_v.bias", (kv,), None),
                ("attn_output.weight", (self.width, self.width), self.main),
                ("ffn_gate.weight", (self.hidden, self.width), self.main),
                ("ffn_up.weight", (self.hidden, self.width), self.main),
                ("ffn_down.weight", (self.width, self.hidden), fine),
            ):
                yield f"blk.{n}.{name}", shape, quant_type

    def file_bytes(self) -> int:
        """Return about the size of the file."""
        return sum(_size(shape, quant_type) for _, shape, quant_type in self.tensors())


SHAPES = {
    shape.name: shape
    for shape in (
        Shape("1.5B", 28, 1536, 8960, 12, 2, 151936, True),
        Shape("7B", 28, 3584, 18944, 28, 4, 152064, False),
        Shape("14B", 48, 5120, 13824, 40, 8, 152064, False),
        Shape("tiny", 2, 256, 512, 4, 2, 640, False),
        Shape("layers of the bundled model", 2, 576, 1536, 9, 3, 4096, True, Q5_0, Q8_0),
        Shape("layers of a 7B", 2, 3584, 18944, 28, 4, 4096, False),
        Shape("four layers of a 1.5B", 4, 1536, 8960, 12, 2, 4096, True),
    )
}
"""Qwen2.5-Coder's sizes; those with few layers have a short vocabulary too."""


def write_model(path: Path, shape: Shape) -> Path:
    """Write a model of random blocks, always the same, and return its path."""
    writer = gguf.GGUFWriter(str(path), "qwen2")
    _write_metadata(writer, shape)
    random = np.random.default_rng(0)
    for name, size, quant_type in shape.tensors():
        if quant_type is None:
            writer.add_tensor_info(name, size, np.dtype(np.float32), 4 * size[0])
        else:
            rows = (size[0], _size(size, quant_type) // size[0])
            writer.add_tensor_info(name, rows, np.dtype(np.uint8), rows[0] * rows[1], raw_dtype=quant_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for name, size, quant_type in shape.tensors():
        if quant_type is None:
            values = 0.1 * random.standard_normal(size) + ("norm" in name)
            writer.write_tensor_data(values.astype(np.float32))
        else:
            blocks = _pool(quant_type, float(size[1]) ** -0.5)
            writer.write_tensor_data(np.resize(blocks.reshape(-1), _size(size, quant_type)))
    writer.close()
    return path


@cache
def _pool(quant_type: gguf.GGMLQuantizationType, deviation: float) -> Bytes:
    """Return blocks of random bytes whose values have about this standard deviation."""
    bytes_per_block = gguf.GGML_QUANT_SIZES[quant_type][1]
    blocks = np.random.default_rng(int(quant_type)).integers(0, 256, (_POOL_BLOCKS, bytes_per_block), dtype=np.uint8)

    def scale(factor: float) -> None:
        for place, ratio in _HALVES[quant_type]:
            blocks[:, place : place + 2] = np.array([factor * ratio], dtype=np.float16).view(np.uint8)

    scale(1.0)
    scale(deviation / float(gguf.quants.dequantize(blocks[:64], quant_type).std()))
    return blocks


def _size(shape: tuple[int, ...], quant_type: gguf.GGMLQuantizationType | None) -> int:
    values = int(np.prod(shape))
    if quant_type is None:
        return 4 * values
    per_block, block_bytes = gguf.GGML_QUANT_SIZES[quant_type]
    return values // per_block * block_bytes


def _write_metadata(writer: Any, shape: Shape) -> None:
    writer.add_name(shape.name)
    writer.add_context_length(4096)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.hidden)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_freq_base(1e6)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("default")
    writer.add_token_list([f"t{i}" for i in range(16)])
    writer.add_token_merges(["t 1"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_chat_template(TEMPLATE)
