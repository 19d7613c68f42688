"""Say how the files of each architecture that can be trained become a model of transformers.

A family is one entry of `FAMILIES` and one entry of the proof (`tests/core/training/test_families.py`), which compares
log-probabilities with llama.cpp's. `.github/CONTRIBUTING.md` has the recipe. An architecture that is not here can be
sampled and evaluated, not trained.
Source: llama.cpp, `conversion/` and `src/models/`; transformers, `models/`; read and restated.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from conself_local.errors import ConselfError
from conself_local.model_files.ggml import Floats
from conself_local.model_files.metadata import Metadata
from conself_local.model_files.rope import original_context, rotary_dimensions

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


def _has(shapes: Shapes, name: str) -> bool:
    return f"blk.0.{name}" in shapes


def _periodic(metadata: Metadata, period: int) -> list[bool] | None:
    """Return which layers slide: those that the file lists, else all but every `period`-th; None without a window."""
    if not metadata.whole("attention.sliding_window", 0):
        return None
    layers = metadata.whole("block_count")
    listed = metadata.truths("attention.sliding_window_pattern")
    if listed is not None:
        return (listed * layers)[:layers]
    period = metadata.whole("attention.sliding_window_pattern", period)
    return [(layer + 1) % max(period, 1) != 0 for layer in range(layers)]


def _halves_interleaved(metadata: Metadata) -> dict[str, Order]:
    """Return the orders of Q and K: a file has the rows of each head as (half, 2), the model as (2, half)."""
    heads = metadata.whole("attention.head_count")
    found = {}
    for part, count in (("attn_q", heads), ("attn_k", metadata.whole("attention.head_count_kv", heads))):
        places = np.arange(count * metadata.head_size).reshape(count, metadata.head_size // 2, 2)
        found[part] = Order(rows=places.swapaxes(1, 2).reshape(-1))
    return found


def _value_heads_tiled(metadata: Metadata) -> dict[str, Order]:
    """Return the orders of Qwen3.5's linear attention: a file has the value heads as (per key head, key head)."""
    keys, values = metadata.whole("ssm.group_count"), metadata.whole("ssm.time_step_rank")
    size = metadata.whole("ssm.inner_size") // values
    places = np.arange(values).reshape(values // keys, keys).T.reshape(-1)
    inner = (places[:, None] * size + np.arange(size)).reshape(-1)
    before = 2 * keys * metadata.whole("ssm.state_size")
    with_keys = np.concatenate([np.arange(before), before + inner])
    per_head = Order(rows=places)
    return {
        "attn_gate": Order(rows=inner),
        "attn_qkv": Order(rows=with_keys),
        "ssm_conv1d": Order(rows=with_keys),
        "ssm_out": Order(columns=inner),
        **dict.fromkeys(("ssm_alpha", "ssm_beta", "ssm_a", "ssm_dt"), per_head),
    }


def _qwen35(metadata: Metadata, shapes: Shapes) -> dict[str, object]:
    values = metadata.whole("ssm.time_step_rank")
    return {
        "num_hidden_layers": metadata.whole("block_count") - metadata.whole("nextn_predict_layers", 0),
        "full_attention_interval": metadata.whole("full_attention_interval"),
        "linear_conv_kernel_dim": metadata.whole("ssm.conv_kernel"),
        "linear_key_head_dim": metadata.whole("ssm.state_size"),
        "linear_num_key_heads": metadata.whole("ssm.group_count"),
        "linear_num_value_heads": values,
        "linear_value_head_dim": metadata.whole("ssm.inner_size") // values,
    }


def _llama(metadata: Metadata, shapes: Shapes) -> dict[str, object]:
    return {"attention_bias": _has(shapes, "attn_q.bias"), "mlp_bias": _has(shapes, "ffn_up.bias")}


def _granite(metadata: Metadata, shapes: Shapes) -> dict[str, object]:
    if not metadata.truth("rope.scaling.finetuned", True):
        raise ConselfError(
            f"{metadata.file_name} is a Granite model without positions, which is not known here",
            "this model can be sampled, but not trained",
        )
    return _llama(metadata, shapes) | {
        "attention_multiplier": metadata.number("attention.scale", 0.0) or metadata.head_size**-0.5,
        "embedding_multiplier": metadata.number("embedding_scale", 0.0) or 1.0,
        "residual_multiplier": metadata.number("residual_scale", 0.0) or 1.0,
        "logits_scaling": metadata.number("logit_scale"),
    }


def _gemma(layers_of_27b: int) -> Callable[[Metadata, Shapes], dict[str, object]]:
    """Return the configuration of Gemma; the largest model scales queries by another size, as its layers tell."""

    def configure(metadata: Metadata, shapes: Shapes) -> dict[str, object]:
        shared = metadata.whole("embedding_length") // metadata.whole("attention.head_count")
        is_largest = metadata.whole("block_count") == layers_of_27b
        return {
            "query_pre_attn_scalar": shared if is_largest else metadata.head_size,
            "final_logit_softcapping": metadata.number("final_logit_softcapping", 0.0) or None,
            "attn_logit_softcapping": metadata.number("attn_logit_softcapping", 0.0) or None,
        }

    return configure


def _glm4(metadata: Metadata, shapes: Shapes) -> dict[str, object]:
    return {"attention_bias": _has(shapes, "attn_q.bias")}


def _exaone4(metadata: Metadata, shapes: Shapes) -> dict[str, object]:
    layers = metadata.whole("block_count")
    return {} if layers == _LAYERS_OF_EXAONE4_32B else {"layer_types": ["full_attention"] * layers}


_LAYERS_OF_EXAONE4_32B = 64
"""llama.cpp slides the layers of the EXAONE 4 model with this number of layers only."""


def _exaone4_sliding(metadata: Metadata) -> list[bool] | None:
    return _periodic(metadata, 4) if metadata.whole("block_count") == _LAYERS_OF_EXAONE4_32B else None


def _mistral3(metadata: Metadata, shapes: Shapes) -> dict[str, object]:
    return {
        "rope_parameters": {
            "llama_4_scaling_beta": metadata.number("attention.temperature_scale", 0.0),
            "original_max_position_embeddings": original_context(metadata),
        }
    }


FAMILIES: Mapping[str, Family] = {
    "llama": Family(model_type="llama", orders=_halves_interleaved, configure=_llama, lean=True, mlx=True),
    "qwen2": Family(model_type="qwen2", lean=True, mlx=True),
    "qwen3": Family(model_type="qwen3", norms=NORMS_BEFORE | NORMS_OF_HEADS, lean=True),
    "qwen35": Family(
        model_type="qwen3_5_text",
        linears=ATTENTION | GATED_MLP | LINEAR_ATTENTION,
        norms={"attn_norm": "input_layernorm", "post_attention_norm": "post_attention_layernorm"} | NORMS_OF_HEADS,
        others={
            "ssm_a": ("linear_attn.A_log", lambda values: np.log(-values)),
            "ssm_dt.bias": ("linear_attn.dt_bias", lambda values: values),
            "ssm_norm.weight": ("linear_attn.norm.weight", lambda values: values),
            "ssm_conv1d.weight": ("linear_attn.conv1d.weight", lambda values: values[:, None]),
        },
        orders=_value_heads_tiled,
        norm_shift=1.0,
        configure=_qwen35,
        sections=True,
    ),
    "phi3": Family(
        model_type="phi3",
        linears=FUSED_ATTENTION | FUSED_MLP,
    ),
    "granite": Family(model_type="granite", orders=_halves_interleaved, configure=_granite, lean=True),
    "smollm3": Family(
        model_type="smollm3",
        orders=_halves_interleaved,
        configure=lambda metadata, shapes: {"no_rope_layer_interval": 4},
        lean=True,
    ),
    "seed_oss": Family(
        model_type="seed_oss",
        norms={"attn_norm": "input_layernorm", "post_attention_norm": "post_attention_layernorm"},
        configure=lambda metadata, shapes: {
            "attention_bias": _has(shapes, "attn_q.bias"),
            "attention_out_bias": _has(shapes, "attn_output.bias"),
        },
        lean=True,
    ),
    "starcoder2": Family(
        model_type="starcoder2",
        linears=ATTENTION | {"ffn_up": "mlp.c_fc", "ffn_down": "mlp.c_proj"},
        configure=lambda metadata, shapes: {"norm_epsilon": metadata.number("attention.layer_norm_epsilon")},
        gelu=True,
    ),
    "mistral3": Family(model_type="ministral3", orders=_halves_interleaved, configure=_mistral3, lean=True),
    "gemma2": Family(
        model_type="gemma2",
        norms=NORMS_AROUND,
        norm_shift=1.0,
        configure=_gemma(layers_of_27b=46),
        sliding=lambda metadata: _periodic(metadata, 2),
        packed_attention=False,
        gelu=True,
    ),
    "gemma3": Family(
        model_type="gemma3_text",
        norms=NORMS_AROUND | NORMS_OF_HEADS,
        norm_shift=1.0,
        configure=_gemma(layers_of_27b=62),
        sliding=lambda metadata: _periodic(metadata, 6),
        sliding_base=10000.0,
        ropes_by_layer_type=True,
        gelu=True,
    ),
    "olmo2": Family(
        model_type="olmo2",
        sliding_model_type="olmo3",
        norms=NORMS_AFTER | NORMS_OF_HEADS,
        sliding=lambda metadata: _periodic(metadata, 4),
    ),
    "glm4": Family(
        model_type="glm4",
        linears=ATTENTION | FUSED_MLP,
        norms={
            "attn_norm": "input_layernorm",
            "post_attention_norm": "post_self_attn_layernorm",
            "ffn_norm": "post_attention_layernorm",
            "post_ffw_norm": "post_mlp_layernorm",
        },
        configure=_glm4,
    ),
    "exaone4": Family(
        model_type="exaone4", norms=NORMS_AFTER | NORMS_OF_HEADS, configure=_exaone4, sliding=_exaone4_sliding
    ),
    "hunyuan-dense": Family(
        model_type="hunyuan_v1_dense",
        norms=NORMS_BEFORE | {"attn_q_norm": "self_attn.query_layernorm", "attn_k_norm": "self_attn.key_layernorm"},
        configure=_llama,
        lean=True,
    ),
    "ernie4_5": Family(
        model_type="ernie4_5",
        configure=lambda metadata, shapes: {"use_bias": _has(shapes, "attn_q.bias")},
        lean=True,
    ),
    "arcee": Family(model_type="arcee", linears=ATTENTION | PLAIN_MLP, orders=_halves_interleaved, configure=_llama),
}
"""Name of the architecture in GGUF files -> its family, for every architecture that can be trained."""


_MIXTURE = "its experts are stacked in one tensor, which adapters of llama.cpp do not reach"
_RECURRENT = "its layers keep a recurrent state, so completions cannot share a prompt in one sequence"
_UNTRAINABLE = {
    "gemma4": "its layers differ in size and share keys, which is not read here",
    "gemma3n": "its layers have embeddings of their own, which is not read here",
    **dict.fromkeys(("qwen2moe", "qwen3moe", "qwen35moe", "qwen3next", "gpt-oss", "deepseek2", "glm4moe"), _MIXTURE),
    **dict.fromkeys(("mamba", "mamba2", "granitehybrid", "jamba", "lfm2", "falcon-h1"), _RECURRENT),
    **dict.fromkeys(("rwkv6", "rwkv7"), _RECURRENT),
}
"""Architecture that can be sampled only -> why it cannot be trained."""


def untrainable_reason(architecture: str) -> str:
    """Return why an architecture that is not in `FAMILIES` cannot be trained."""
    return _UNTRAINABLE.get(architecture, "its tensors are not known here")


def configuration(metadata: Metadata, shapes: Shapes) -> dict[str, object]:
    """Return the configuration of a file's model under the names of transformers.

    The positions are not in it, except those of `rope.py` that a configuration must state. Raises ConselfError if the
    architecture is not in `FAMILIES`, or if the file is not computed as its family is.
    """
    family = FAMILIES[metadata.architecture]
    heads = metadata.whole("attention.head_count")
    sliding = family.sliding(metadata)
    rope: dict[str, object] = {"rope_type": "default", "rope_theta": metadata.number("rope.freq_base", 10000.0)}
    if rotary_dimensions(metadata) != metadata.head_size:
        rope["partial_rotary_factor"] = rotary_dimensions(metadata) / metadata.head_size
    values: dict[str, object] = {
        "model_type": family.sliding_model_type if sliding and family.sliding_model_type else family.model_type,
        "vocab_size": shapes["token_embd.weight"][0],
        "hidden_size": metadata.whole("embedding_length"),
        "intermediate_size": metadata.whole("feed_forward_length"),
        "num_hidden_layers": metadata.whole("block_count"),
        "num_attention_heads": heads,
        "num_key_value_heads": metadata.whole("attention.head_count_kv", heads),
        "head_dim": metadata.head_size,
        "max_position_embeddings": metadata.whole("context_length"),
        "rope_theta": rope["rope_theta"],
        "tie_word_embeddings": "output.weight" not in shapes,
        "sliding_window": metadata.whole("attention.sliding_window") if sliding else None,
        **dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id")),  # defaults may exceed the vocabulary
    }
    if "attention.layer_norm_rms_epsilon" in metadata:
        values["rms_norm_eps"] = metadata.number("attention.layer_norm_rms_epsilon")
    if sliding:
        values["layer_types"] = ["sliding_attention" if one else "full_attention" for one in sliding]
    more = family.configure(metadata, shapes)
    rope |= more.pop("rope_parameters", {})  # type: ignore[call-overload]
    if family.ropes_by_layer_type or values["model_type"] == "olmo3":
        rope = {"full_attention": dict(rope), "sliding_attention": dict(rope)}
    return values | {"rope_parameters": rope} | more
