"""Reads the weights of a GGUF file tensor by tensor, under the names that torch and MLX models give them.

Both trainers and the merged export read weights here only, so they all use the same values. An architecture is read
only if each of its tensors is known, so that training never uses another model than sampling does. For the llama
architecture, GGUF keeps the rows of Q and K in another order; whole rows are moved back, which also works on packed
blocks. Not read: other architectures, models with rope scaling, and models with unusual head sizes.
Source: llama.cpp, conversion of the llama and qwen2 families, read and restated.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TypeVar

import gguf
import numpy as np
import numpy.typing as npt

from conself_local.errors import ConselfError
from conself_local.model_files.ggml import Bytes, Floats, unpack
from conself_local.model_files.gguf_file import GgufFile, open_gguf
from conself_local.model_files.model_file import ModelFile

PERMUTED = ("llama",)
"""Architectures whose rows of Q and K are in GGUF's order."""
PLAIN = ("qwen2",)
"""Architectures whose rows are in the order of the torch model."""
TRAINABLE = PERMUTED + PLAIN
LINEAR_NAMES = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
"""Name of a layer's linear map in GGUF -> its name in Hugging Face and MLX models."""
_LAYER_NAMES = {**LINEAR_NAMES, "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm"}
_OUTER_NAMES = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
_Number = TypeVar("_Number", bound=np.generic)
_LAYER = re.compile(r"blk\.(\d+)\.(\w+)\.(weight|bias)")


@dataclass(frozen=True)
class GgufTensor:
    """One tensor of a GGUF file, with its bytes as they are in the file."""

    name: str
    """Name in the file, e.g. `blk.0.ffn_up.weight`."""
    model_name: str
    """Name in the torch or MLX model, e.g. `model.layers.0.mlp.up_proj.weight`."""
    quant_type: int
    """ggml's number of the type."""
    shape: tuple[int, ...]
    """(rows, columns), or (size,) for a norm or bias."""
    packed: Bytes
    """The bytes, as a view of the memory-mapped file."""
    heads: int | None
    """Number of heads by which the rows are permuted, for Q and K of the llama architecture; None for other tensors."""

    def rows_in_order(self) -> Bytes:
        """Return the packed rows in the order of the torch model, shape (rows, bytes per row)."""
        rows: Bytes = self.packed.reshape(self.shape[0], -1)
        return rows if self.heads is None else unpermute_rows(rows, self.heads)

    def dense(self) -> Floats:
        """Return the float32 values in the order of the torch model, in the tensor's own `shape`."""
        rows = self.rows_in_order()
        return unpack(self.quant_type, rows.reshape(-1), len(rows), self.columns).reshape(self.shape)

    @property
    def columns(self) -> int:
        """Number of values per row; 1 for a norm or bias."""
        return self.shape[1] if len(self.shape) == 2 else 1


@dataclass(frozen=True)
class GgufWeights:
    """The tensors of a model and the configuration that a torch or MLX model is built from."""

    config: dict[str, object]
    """Configuration of the architecture, under the names that Hugging Face and MLX have in common."""
    tensors: list[GgufTensor]


def read_weights(model: ModelFile) -> GgufWeights:
    """Read the configuration and all tensors of a model, with one pass over the header of each of its files.

    Raises ConselfError for an architecture or a tensor that is not known, rope scaling, or an unusual head size.
    """
    _verify_known(model)
    file = open_gguf(model.path)
    return GgufWeights(_config(model, file), [_describe(model, tensor) for tensor in file.tensors])


def _verify_known(model: ModelFile) -> None:
    if model.architecture not in TRAINABLE:
        raise ConselfError(
            f"the architecture {model.architecture} cannot be trained, because its tensors are not known here",
            f"choose a model of the families {', '.join(TRAINABLE)}; this one can still be sampled and evaluated",
        )


def linear_shapes(model: ModelFile) -> dict[str, tuple[int, int]]:
    """Return the shape of every linear map of the layers: `model.layers.0.self_attn.q_proj` -> (rows, columns).

    Raises ConselfError as `read_weights` does.
    """
    return {
        tensor.model_name.removesuffix(".weight"): (tensor.shape[0], tensor.columns)
        for tensor in read_weights(model).tensors
        if tensor.model_name.endswith("_proj.weight")
    }


def _describe(model: ModelFile, tensor: gguf.ReaderTensor) -> GgufTensor:
    layer = _LAYER.fullmatch(tensor.name)
    outer, _, part = tensor.name.rpartition(".")
    if layer and layer[2] in _LAYER_NAMES:
        model_name = f"model.layers.{layer[1]}.{_LAYER_NAMES[layer[2]]}.{layer[3]}"
    elif outer in _OUTER_NAMES:
        model_name = f"{_OUTER_NAMES[outer]}.{part}"
    else:
        raise ConselfError(
            f"{model.path.name} contains an unknown tensor {tensor.name}",
            "this model can be sampled, but not trained",
        )
    shape = tuple(int(n) for n in reversed(tensor.shape))
    heads = {"attn_q": model.head_count, "attn_k": model.head_count_kv}.get(layer[2]) if layer else None
    if heads and (not shape[0] or shape[0] % (2 * heads)):
        raise ConselfError(
            f"the {shape[0]} rows of {tensor.name} in {model.path.name} do not fit {heads} heads",
            "the file is damaged; download it again",
        )
    return GgufTensor(
        tensor.name,
        model_name,
        int(tensor.tensor_type),
        shape,
        np.asarray(tensor.data).view(np.uint8).reshape(-1),
        heads if model.architecture in PERMUTED else None,
    )


def permute_rows(rows: npt.NDArray[_Number], heads: int) -> npt.NDArray[_Number]:
    """Return rows of Q or K in GGUF's order for the llama family: (heads, 2, half, ...) -> (heads, half, 2, ...).

    Input and result have the same shape, (heads * 2 * half, ...).
    """
    half = rows.shape[0] // heads // 2
    return np.ascontiguousarray(rows.reshape(heads, 2, half, -1).swapaxes(1, 2).reshape(rows.shape))


def unpermute_rows(rows: npt.NDArray[_Number], heads: int) -> npt.NDArray[_Number]:
    """Undo `permute_rows`: (heads, half, 2, ...) -> (heads, 2, half, ...)."""
    half = rows.shape[0] // heads // 2
    return np.ascontiguousarray(rows.reshape(heads, half, 2, -1).swapaxes(1, 2).reshape(rows.shape))


def _config(model: ModelFile, file: GgufFile) -> dict[str, object]:
    def value(key: str, default: object = None) -> object:
        return file.value(f"{model.architecture}.{key}", default)

    shapes = {t.name: tuple(int(n) for n in reversed(t.shape)) for t in file.tensors}
    scaling = value("rope.scaling.type", "none")
    if scaling not in ("none", None) or "rope_freqs.weight" in shapes:
        raise ConselfError(
            f"{model.path.name} uses rope scaling ({scaling}), which training does not support",
            "use a model without rope scaling; this one can be sampled, but not trained",
        )
    head_size = model.embedding_length // model.head_count
    if any(value(key, head_size) != head_size for key in ("rope.dimension_count", "attention.key_length")):
        raise ConselfError(f"{model.path.name} has an unusual head size", "this model can be sampled, but not trained")
    return {
        "model_type": model.architecture,
        "vocab_size": shapes["token_embd.weight"][0],
        "hidden_size": model.embedding_length,
        "intermediate_size": value("feed_forward_length"),
        "num_hidden_layers": model.block_count,
        "num_attention_heads": model.head_count,
        "num_key_value_heads": model.head_count_kv,
        "max_position_embeddings": model.context_length,
        "rms_norm_eps": value("attention.layer_norm_rms_epsilon"),
        "rope_theta": value("rope.freq_base", 10000.0),
        "attention_bias": "blk.0.attn_q.bias" in shapes,
        "tie_word_embeddings": "output.weight" not in shapes,
    }
