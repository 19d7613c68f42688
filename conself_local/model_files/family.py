"""Define what is known of a family of models: the names of its tensors and how it differs from others.

`families.py` is the table of all families; `configurations.py` has what their metadata mean.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from conself_local.model_files.ggml import Floats
from conself_local.model_files.metadata import Metadata

Indices = npt.NDArray[np.intp]
Shapes = Mapping[str, tuple[int, ...]]
"""Name of a tensor in the file -> (rows, columns), or (size,)."""
Names = dict[str, str]
"""Part of a tensor's name in a layer of the file -> part of its name in a layer of the model."""

GATED_MLP: Names = {"ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj"}
PLAIN_MLP: Names = {"ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj"}
FUSED_MLP: Names = {"ffn_up": "mlp.gate_up_proj", "ffn_down": "mlp.down_proj"}
ATTENTION: Names = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
}
LINEAR_ATTENTION: Names = {
    "attn_qkv": "linear_attn.in_proj_qkv",
    "attn_gate": "linear_attn.in_proj_z",
    "ssm_alpha": "linear_attn.in_proj_a",
    "ssm_beta": "linear_attn.in_proj_b",
    "ssm_out": "linear_attn.out_proj",
}
FUSED_ATTENTION: Names = {"attn_qkv": "self_attn.qkv_proj", "attn_output": "self_attn.o_proj"}
NORMS_BEFORE: Names = {"attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm"}
NORMS_AFTER: Names = {
    "post_attention_norm": "post_attention_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
}
NORMS_AROUND: Names = {
    "attn_norm": "input_layernorm",
    "post_attention_norm": "post_attention_layernorm",
    "ffn_norm": "pre_feedforward_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
}
NORMS_OF_HEADS: Names = {"attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm"}


def _no_more(metadata: Metadata, shapes: Shapes) -> dict[str, object]:
    return {}


def _no_orders(metadata: Metadata) -> dict[str, Order]:
    return {}


def _never(metadata: Metadata) -> list[bool] | None:
    return None


Transform = Callable[[Floats], Floats]


@dataclass(frozen=True, eq=False)
class Order:
    """The place in the file of each row and column of a tensor of the model; None if they are in the same order."""

    rows: Indices | None = None
    columns: Indices | None = None

    @property
    def is_same(self) -> bool:
        """Whether the file has rows and columns in the order of the model."""
        return self.rows is None and self.columns is None


@dataclass(frozen=True, kw_only=True)
class Family:
    """How the files of one architecture are read."""

    models: str
    """The models that people know of this family."""
    proven_on: str = ""
    """The real model on which log-probabilities were compared with llama.cpp's; empty if none was at hand."""
    model_type: str
    """The name of the architecture in transformers."""
    sliding_model_type: str = ""
    """The name if layers slide, where it is another one."""
    linears: Names = field(default_factory=lambda: ATTENTION | GATED_MLP)
    """Linear maps of a layer, all of which adapters change."""
    norms: Names = field(default_factory=lambda: NORMS_BEFORE)
    others: Mapping[str, tuple[str, Transform]] = field(default_factory=dict)
    """Other tensors of a layer, with their endings -> (whole name in a layer of the model, how values are changed)."""
    orders: Callable[[Metadata], dict[str, Order]] = _no_orders
    """Return the tensors of a layer whose rows or columns the file has in another order."""
    norm_shift: float = 0.0
    """What the file adds to the weights of norms."""
    configure: Callable[[Metadata, Shapes], dict[str, object]] = _no_more
    """Return more values of the configuration. Raises ConselfError for a file that is not computed as the family is."""
    sliding: Callable[[Metadata], list[bool] | None] = _never
    """Return for each layer whether it attends to a window of tokens only; None if no layer does."""
    sliding_base: float | None = None
    """Base of the positions of sliding layers if the file states none; None means that of the other layers."""
    sections: bool = False
    """Whether positions have sections for images; for text they are all equal, so that the sections do not matter."""
    ropes_by_layer_type: bool = False
    """Whether the configuration in transformers has one rope for each kind of layer."""
    lean: bool = False
    """Whether the lean norms and gated MLPs compute what the family does (`training/torch_backend/lean_layers.py`)."""
    packed_attention: bool = True
    """Whether attention is a plain softmax, as `training/torch_backend/packed_attention.py` computes it."""
    gelu: bool = False
    """Whether the family computes GELU, for which llama.cpp has a table of 16-bit floats on a CPU."""
    mlx: bool = False
    """Whether mlx-lm's model computes the positions of every file of the family that is read here."""
