"""Reads the weights of a GGUF file tensor by tensor, under the names that torch and MLX models give them.

Both trainers and the merged export read weights here only, so they all use the same values. `families.py` says what
each tensor is. A file is read only if each of its tensors is known, so that training never uses another model than
sampling does. Where GGUF keeps the rows of Q and K in another order, whole rows are moved back, which also works on
packed blocks. Not read: architectures that are not in `FAMILIES`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import gguf
import numpy as np

from conself_local.errors import ConselfError
from conself_local.foreign_files import refusing
from conself_local.model_files.configurations import configuration
from conself_local.model_files.families import FAMILIES, untrainable_reason
from conself_local.model_files.family import Family, Order, Transform
from conself_local.model_files.ggml import Bytes, Floats, unpack
from conself_local.model_files.gguf_file import open_gguf
from conself_local.model_files.metadata import Metadata
from conself_local.model_files.model_file import ModelFile
from conself_local.model_files.rope import FREQUENCY_TENSORS, Rope, rope, sliding_rope

_OUTER_NAMES = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
_LAYER = re.compile(r"blk\.(\d+)\.(\w+?)(\.weight|\.bias)?")


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
    order: Order
    """Where the file has each row and column of the model's tensor."""
    is_linear: bool
    """Whether it is the weight of a linear map of a layer, which adapters change."""
    transform: Transform
    """What is done to the values of the file."""

    def rows_in_order(self) -> Bytes:
        """Return the packed rows in the order of the torch model, shape (rows, bytes per row)."""
        rows: Bytes = self.packed.reshape(self.shape[0], -1)
        return rows if self.order.rows is None else np.ascontiguousarray(rows[self.order.rows])

    def dense(self) -> Floats:
        """Return the float32 values of the torch model."""
        rows = self.rows_in_order()
        values = unpack(self.quant_type, rows.reshape(-1), len(rows), self.columns).reshape(self.shape)
        return self.transform(values if self.order.columns is None else values[:, self.order.columns])

    @property
    def columns(self) -> int:
        """Number of values per row; 1 for a norm or bias."""
        return self.shape[1] if len(self.shape) == 2 else 1


@dataclass(frozen=True)
class GgufWeights:
    """The tensors of a model and the configuration that a torch or MLX model is built from."""

    family: Family
    config: dict[str, object]
    """Configuration of the model under the names of transformers, which MLX shares as far as it needs them."""
    tensors: list[GgufTensor]
    """All tensors except the factors of frequencies, which are in `ropes`."""
    ropes: dict[str, Rope]
    """The positions of layers with `full_attention` and, if layers slide, with `sliding_attention`."""
    is_scaled: bool
    """Whether the positions are scaled in any way."""


def read_weights(model: ModelFile, context_tokens: int = 0) -> GgufWeights:
    """Read the configuration and all tensors of a model, with one pass over the header of each of its files.

    context_tokens: the context that the engine is started with, for models whose positions depend on it.
    Raises ConselfError for an architecture, a tensor, or a scaling of positions that is not known.
    """
    family = family_of(model)
    with refusing(f"{model.path.name} cannot be read for training", "this model can be sampled, but not trained"):
        file = open_gguf(model.path)
        metadata = Metadata(model.architecture, file.value, model.path.name)
        shapes = {t.name: tuple(int(n) for n in reversed(t.shape)) for t in file.tensors}
        if "token_embd.weight" not in shapes:
            raise ConselfError(
                f"{model.path.name} lacks the tensor token_embd.weight", "the file is damaged; get it again"
            )
        _verify_sizes(metadata, shapes)
        config = configuration(family, metadata, shapes)
        factors = {t.name: _floats(t) for t in file.tensors if t.name in FREQUENCY_TENSORS}
        ropes = {"full_attention": rope(metadata, factors, context_tokens, sections=family.sections)}
        if config.get("sliding_window"):
            ropes["sliding_attention"] = sliding_rope(metadata, family.sliding_base)
        orders = family.orders(metadata)
        layers = int(str(config["num_hidden_layers"]))
        tensors = [
            _describe(model, family, orders, tensor)
            for tensor in file.tensors
            if tensor.name not in FREQUENCY_TENSORS and _layer_of(tensor) < layers
        ]
        unscaled = sliding_rope(metadata, None).inverse_frequencies
        scaled = bool(factors) or not np.array_equal(ropes["full_attention"].inverse_frequencies, unscaled)
        return GgufWeights(family, config, tensors, ropes, scaled)


_MAX_SIZE = 2**17
"""Largest size of a head or of a part of linear attention; a larger one would take gigabytes to describe."""


def _verify_sizes(metadata: Metadata, shapes: dict[str, tuple[int, ...]]) -> None:
    """Raise ConselfError if the metadata state sizes that the tensors do not have, before anything is made of them."""
    layers = {int(layer[1]) for name in shapes if (layer := _LAYER.fullmatch(name))}
    if metadata.whole("block_count") > len(layers):
        raise metadata.unusable("block_count")
    if metadata.whole("embedding_length") != shapes["token_embd.weight"][-1]:
        raise metadata.unusable("embedding_length")
    for key in ("attention.key_length", "attention.head_count", "feed_forward_length", *_SIZES):
        if key in metadata and metadata.whole(key) > _MAX_SIZE:
            raise metadata.unusable(key)


_SIZES = ("ssm.state_size", "ssm.inner_size", "ssm.group_count", "ssm.time_step_rank", "ssm.conv_kernel")


def family_of(model: ModelFile) -> Family:
    """Return the family of a model's architecture. Raises ConselfError if it is not known."""
    if model.architecture not in FAMILIES:
        raise ConselfError(
            f"the architecture {model.architecture} cannot be trained: {untrainable_reason(model.architecture)}",
            f"choose a model of the families {', '.join(FAMILIES)}; this one can still be sampled and evaluated",
        )
    return FAMILIES[model.architecture]


def linear_tensors(model: ModelFile) -> dict[str, GgufTensor]:
    """Return the weights of all linear maps of the layers: `model.layers.0.self_attn.q_proj` -> tensor.

    Raises ConselfError as `read_weights` does.
    """
    return {
        tensor.model_name.removesuffix(".weight"): tensor for tensor in read_weights(model).tensors if tensor.is_linear
    }


def linear_shapes(model: ModelFile) -> dict[str, tuple[int, int]]:
    """Return the shape of every linear map of the layers, (rows, columns). Raises ConselfError as `read_weights`."""
    return {name: (tensor.shape[0], tensor.columns) for name, tensor in linear_tensors(model).items()}


def _layer_of(tensor: gguf.ReaderTensor) -> int:
    layer = _LAYER.fullmatch(tensor.name)
    return int(layer[1]) if layer else -1


def _describe(model: ModelFile, family: Family, orders: dict[str, Order], tensor: gguf.ReaderTensor) -> GgufTensor:
    layer = _LAYER.fullmatch(tensor.name)
    part, ending = (layer[2], layer[3] or "") if layer else ("", "")
    outer, _, outer_ending = tensor.name.rpartition(".")
    names = {**family.linears, **family.norms}
    transform: Transform = _unchanged
    if layer and f"{part}{ending}" in family.others:
        name, transform = family.others[f"{part}{ending}"]
        model_name = f"model.layers.{layer[1]}.{name}"
    elif layer and part in names and ending:
        model_name = f"model.layers.{layer[1]}.{names[part]}{ending}"
    elif outer in _OUTER_NAMES:
        model_name = f"{_OUTER_NAMES[outer]}.{outer_ending}"
    else:
        raise ConselfError(
            f"{model.path.name} contains an unknown tensor {tensor.name}",
            "this model can be sampled, but not trained",
        )
    if family.norm_shift and tensor.name.endswith(".weight") and (part in family.norms or outer == "output_norm"):
        transform = _minus(family.norm_shift)
    order, shape = orders.get(part, Order()), tuple(int(n) for n in reversed(tensor.shape))
    is_linear = part in family.linears and ending == ".weight"
    if is_linear and len(shape) != 2:
        raise ConselfError(
            f"the tensor {tensor.name} in {model.path.name} has {len(shape)} dimensions, and a linear map has 2",
            "the file is damaged; download it again",
        )
    for what, indices, size in (("rows", order.rows, shape[0]), ("columns", order.columns, shape[-1])):
        if indices is not None and len(indices) != size:
            raise ConselfError(
                f"the {size} {what} of {tensor.name} in {model.path.name} do not fit its heads",
                "the file is damaged; download it again",
            )
    return GgufTensor(
        name=tensor.name,
        model_name=model_name,
        quant_type=int(tensor.tensor_type),
        shape=shape,
        packed=np.asarray(tensor.data).view(np.uint8).reshape(-1),
        order=order,
        is_linear=is_linear,
        transform=transform,
    )


def _minus(shift: float) -> Transform:
    return lambda values: values - np.float32(shift)


def _unchanged(values: Floats) -> Floats:
    return values


def _floats(tensor: gguf.ReaderTensor) -> Floats:
    """Return a small tensor of one dimension as float32."""
    size = int(tensor.n_elements)
    return unpack(int(tensor.tensor_type), np.asarray(tensor.data).view(np.uint8).reshape(-1), 1, size).reshape(-1)
