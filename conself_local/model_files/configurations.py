"""Turn the metadata of a GGUF file into the configuration of its model in transformers, family by family.

Also here: which layers slide, and where a file has rows or columns in another order than the model.
Source: llama.cpp, `conversion/` and `src/models/`; transformers, `models/`; read and restated.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from conself_local.errors import ConselfError
from conself_local.model_files.family import Family, Order, Shapes
from conself_local.model_files.ggml import Floats
from conself_local.model_files.metadata import Metadata
from conself_local.model_files.rope import original_context, rotary_dimensions


def configuration(family: Family, metadata: Metadata, shapes: Shapes) -> dict[str, object]:
    """Return the configuration of a file's model under the names of transformers.

    The positions are not in it, except those of `rope.py` that a configuration must state. Raises ConselfError if the
    file is not computed as its family is.
    """
    heads = metadata.whole("attention.head_count")
    sliding = family.sliding(metadata)
    rope: dict[str, object] = {"rope_type": "default", "rope_theta": metadata.positive("rope.freq_base", 10000.0)}
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
    if sliding:
        values["layer_types"] = ["sliding_attention" if one else "full_attention" for one in sliding]
    more = family.configure(metadata, shapes)
    if "norm_epsilon" not in more:
        values["rms_norm_eps"] = metadata.positive("attention.layer_norm_rms_epsilon")
    rope |= more.pop("rope_parameters", {})  # type: ignore[call-overload]
    if family.ropes_by_layer_type or values["model_type"] == "olmo3":
        rope = {"full_attention": dict(rope), "sliding_attention": dict(rope)}
    return values | {"rope_parameters": rope} | more


def has(shapes: Shapes, name: str) -> bool:
    """Return whether layer 0 of the file has a tensor."""
    return f"blk.0.{name}" in shapes


def periodic(metadata: Metadata, period: int) -> list[bool] | None:
    """Return which layers slide: those that the file lists, else all but every `period`-th; None without a window."""
    if not metadata.whole("attention.sliding_window", 0, least=0):
        return None
    layers = metadata.whole("block_count")
    listed = metadata.truths("attention.sliding_window_pattern")
    if listed is not None:
        return (listed * layers)[:layers]
    period = metadata.whole("attention.sliding_window_pattern", period)
    return [(layer + 1) % max(period, 1) != 0 for layer in range(layers)]


def always_periodic(metadata: Metadata, period: int) -> list[bool] | None:
    """Return which layers slide, as `periodic` does. Raises ConselfError if the file states no window."""
    metadata.whole("attention.sliding_window")
    return periodic(metadata, period)


def halves_interleaved(metadata: Metadata) -> dict[str, Order]:
    """Return the orders of Q and K: a file has the rows of each head as (half, 2), the model as (2, half)."""
    heads = metadata.whole("attention.head_count")
    found = {}
    for part, count in (("attn_q", heads), ("attn_k", metadata.whole("attention.head_count_kv", heads))):
        places = np.arange(count * metadata.head_size).reshape(count, metadata.head_size // 2, 2)
        found[part] = Order(rows=places.swapaxes(1, 2).reshape(-1))
    return found


def value_heads_tiled(metadata: Metadata) -> dict[str, Order]:
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


def qwen35(metadata: Metadata, shapes: Shapes) -> dict[str, object]:
    """Return the sizes of the linear attention, and the number of layers without those that predict several tokens."""
    values = metadata.whole("ssm.time_step_rank")
    layers = metadata.whole("block_count") - metadata.whole("nextn_predict_layers", 0, least=0)
    if layers < 1:
        raise metadata.unusable("nextn_predict_layers")
    return {
        "num_hidden_layers": layers,
        "full_attention_interval": metadata.whole("full_attention_interval"),
        "linear_conv_kernel_dim": metadata.whole("ssm.conv_kernel"),
        "linear_key_head_dim": metadata.whole("ssm.state_size"),
        "linear_num_key_heads": metadata.whole("ssm.group_count"),
        "linear_num_value_heads": values,
        "linear_value_head_dim": metadata.whole("ssm.inner_size") // values,
    }


def logarithm_of_negative(values: Floats) -> Floats:
    """Return log(-x). Raises ValueError unless all values are below 0."""
    if not (values < 0).all():
        raise ValueError("a decay of the linear attention is not below 0")
    found: Floats = np.log(-values)
    return found


def llama(metadata: Metadata, shapes: Shapes) -> dict[str, object]:
    """Return which linear maps have biases."""
    return {"attention_bias": has(shapes, "attn_q.bias"), "mlp_bias": has(shapes, "ffn_up.bias")}


def granite(metadata: Metadata, shapes: Shapes) -> dict[str, object]:
    """Return Granite's scales. Raises ConselfError for a model without positions."""
    if not metadata.truth("rope.scaling.finetuned", True):
        raise ConselfError(
            f"{metadata.file_name} is a Granite model without positions, which is not known here",
            "this model can be sampled, but not trained",
        )
    return llama(metadata, shapes) | {
        "attention_multiplier": metadata.number("attention.scale", 0.0) or metadata.head_size**-0.5,
        "embedding_multiplier": metadata.number("embedding_scale", 0.0) or 1.0,
        "residual_multiplier": metadata.number("residual_scale", 0.0) or 1.0,
        "logits_scaling": metadata.positive("logit_scale"),
    }


def gemma(layers_of_27b: int) -> Callable[[Metadata, Shapes], dict[str, object]]:
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


def glm4(metadata: Metadata, shapes: Shapes) -> dict[str, object]:
    """Return whether attention has biases."""
    return {"attention_bias": has(shapes, "attn_q.bias")}


def exaone4(metadata: Metadata, shapes: Shapes) -> dict[str, object]:
    """Return that no layer slides, for all models but the largest."""
    layers = metadata.whole("block_count")
    return {} if layers == _LAYERS_OF_EXAONE4_32B else {"layer_types": ["full_attention"] * layers}


_LAYERS_OF_EXAONE4_32B = 64
"""llama.cpp slides the layers of the EXAONE 4 model with this number of layers only."""


def exaone4_sliding(metadata: Metadata) -> list[bool] | None:
    """Return which layers of the largest model slide."""
    return periodic(metadata, 4) if metadata.whole("block_count") == _LAYERS_OF_EXAONE4_32B else None


def mistral3(metadata: Metadata, shapes: Shapes) -> dict[str, object]:
    """Return how queries are scaled by their position."""
    return {
        "rope_parameters": {
            "llama_4_scaling_beta": metadata.number("attention.temperature_scale", 0.0),
            "original_max_position_embeddings": original_context(metadata),
        }
    }
