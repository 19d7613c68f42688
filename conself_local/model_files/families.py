"""List the architectures of GGUF files that can be trained, and say why others cannot.

A family is one entry of `FAMILIES` and one entry of the proof (`tests/core/training/test_families.py`), which compares
log-probabilities with llama.cpp's. `.github/CONTRIBUTING.md` has the recipe. An architecture that is not here can be
sampled and evaluated, not trained.
Source: llama.cpp, `conversion/` and `src/models/`; transformers, `models/`; read and restated.
"""

from __future__ import annotations

from collections.abc import Mapping

from conself_local.model_files import configurations as of
from conself_local.model_files.family import (
    ATTENTION,
    FUSED_ATTENTION,
    FUSED_MLP,
    GATED_MLP,
    LINEAR_ATTENTION,
    NORMS_AFTER,
    NORMS_AROUND,
    NORMS_BEFORE,
    NORMS_OF_HEADS,
    PLAIN_MLP,
    Family,
)

FAMILIES: Mapping[str, Family] = {
    "llama": Family(
        models="Llama 1 to 3.3, CodeLlama, DeepSeek-Coder 1, Mistral, Codestral, Devstral 1, SmolLM2, Yi-Coder",
        proven_on="SmolLM2-135M",
        model_type="llama",
        orders=of.halves_interleaved,
        configure=of.llama,
        lean=True,
        mlx=True,
    ),
    "qwen2": Family(
        models="Qwen2.5, Qwen2.5-Coder, DeepSeek-R1-Distill-Qwen",
        proven_on="Qwen2.5-Coder-0.5B",
        model_type="qwen2",
        lean=True,
        mlx=True,
    ),
    "qwen3": Family(
        models="Qwen3 0.6B to 32B",
        model_type="qwen3",
        norms=NORMS_BEFORE | NORMS_OF_HEADS,
        lean=True,
    ),
    "qwen35": Family(
        models="Qwen3.5, Qwen3.6, without mixtures",
        model_type="qwen3_5_text",
        linears=ATTENTION | GATED_MLP | LINEAR_ATTENTION,
        norms={"attn_norm": "input_layernorm", "post_attention_norm": "post_attention_layernorm"} | NORMS_OF_HEADS,
        others={
            "ssm_a": ("linear_attn.A_log", of.logarithm_of_negative),
            "ssm_dt.bias": ("linear_attn.dt_bias", lambda values: values),
            "ssm_norm.weight": ("linear_attn.norm.weight", lambda values: values),
            "ssm_conv1d.weight": ("linear_attn.conv1d.weight", lambda values: values[:, None]),
        },
        orders=of.value_heads_tiled,
        norm_shift=1.0,
        configure=of.qwen35,
        sections=True,
    ),
    "phi3": Family(
        models="Phi-3, Phi-3.5, Phi-4",
        model_type="phi3",
        linears=FUSED_ATTENTION | FUSED_MLP,
    ),
    "granite": Family(
        models="Granite 3, dense",
        model_type="granite",
        orders=of.halves_interleaved,
        configure=of.granite,
        lean=True,
    ),
    "smollm3": Family(
        models="SmolLM3",
        model_type="smollm3",
        orders=of.halves_interleaved,
        configure=lambda metadata, shapes: {"no_rope_layer_interval": 4},
        lean=True,
    ),
    "seed_oss": Family(
        models="Seed-OSS",
        model_type="seed_oss",
        norms={"attn_norm": "input_layernorm", "post_attention_norm": "post_attention_layernorm"},
        configure=lambda metadata, shapes: {
            "attention_bias": of.has(shapes, "attn_q.bias"),
            "attention_out_bias": of.has(shapes, "attn_output.bias"),
        },
        lean=True,
    ),
    "starcoder2": Family(
        models="StarCoder2",
        model_type="starcoder2",
        linears=ATTENTION | {"ffn_up": "mlp.c_fc", "ffn_down": "mlp.c_proj"},
        configure=lambda metadata, shapes: {"norm_epsilon": metadata.positive("attention.layer_norm_epsilon")},
        gelu=True,
    ),
    "mistral3": Family(
        models="Ministral 3, Devstral Small 2",
        model_type="ministral3",
        orders=of.halves_interleaved,
        configure=of.mistral3,
        lean=True,
    ),
    "gemma2": Family(
        models="Gemma 2",
        model_type="gemma2",
        norms=NORMS_AROUND,
        norm_shift=1.0,
        configure=of.gemma(layers_of_27b=46),
        sliding=lambda metadata: of.always_periodic(metadata, 2),
        packed_attention=False,
        gelu=True,
    ),
    "gemma3": Family(
        models="Gemma 3",
        proven_on="gemma-3-270m",
        model_type="gemma3_text",
        norms=NORMS_AROUND | NORMS_OF_HEADS,
        norm_shift=1.0,
        configure=of.gemma(layers_of_27b=62),
        sliding=lambda metadata: of.always_periodic(metadata, 6),
        sliding_base=10000.0,
        ropes_by_layer_type=True,
        gelu=True,
    ),
    "olmo2": Family(
        models="OLMo 2, OLMo 3",
        model_type="olmo2",
        sliding_model_type="olmo3",
        norms=NORMS_AFTER | NORMS_OF_HEADS,
        sliding=lambda metadata: of.periodic(metadata, 4),
    ),
    "glm4": Family(
        models="GLM-4-0414",
        model_type="glm4",
        linears=ATTENTION | FUSED_MLP,
        norms={
            "attn_norm": "input_layernorm",
            "post_attention_norm": "post_self_attn_layernorm",
            "ffn_norm": "post_attention_layernorm",
            "post_ffw_norm": "post_mlp_layernorm",
        },
        configure=of.glm4,
    ),
    "exaone4": Family(
        models="EXAONE 4",
        model_type="exaone4",
        norms=NORMS_AFTER | NORMS_OF_HEADS,
        configure=of.exaone4,
        sliding=of.exaone4_sliding,
    ),
    "hunyuan-dense": Family(
        models="Hunyuan, dense",
        model_type="hunyuan_v1_dense",
        norms=NORMS_BEFORE | {"attn_q_norm": "self_attn.query_layernorm", "attn_k_norm": "self_attn.key_layernorm"},
        configure=of.llama,
        lean=True,
    ),
    "ernie4_5": Family(
        models="ERNIE 4.5, dense",
        model_type="ernie4_5",
        configure=lambda metadata, shapes: {"use_bias": of.has(shapes, "attn_q.bias")},
        lean=True,
    ),
    "arcee": Family(
        models="AFM",
        model_type="arcee",
        linears=ATTENTION | PLAIN_MLP,
        orders=of.halves_interleaved,
        configure=of.llama,
    ),
}
"""Name of the architecture in GGUF files -> its family, for every architecture that can be trained."""


_UNTRAINABLE = {
    "its experts are stacked in one tensor, which is not read here": (
        "deepseek2", "glm4moe", "gpt-oss", "qwen2moe", "qwen35moe", "qwen3moe", "qwen3next",
    ),
    "its recurrent layers are not read here": (
        "falcon-h1", "granitehybrid", "jamba", "lfm2", "mamba", "mamba2", "rwkv6", "rwkv7",
    ),
    "its layers differ in size and share keys, which is not read here": ("gemma4",),
    "its layers have embeddings of their own, which are not read here": ("gemma3n",),
}  # fmt: skip
"""Why an architecture can be sampled only -> the architectures."""
_UNKNOWN = "its tensors are not known here"


def untrainable_reason(architecture: str) -> str:
    """Return why an architecture that is not in `FAMILIES` cannot be trained."""
    return next((why for why, names in _UNTRAINABLE.items() if architecture in names), _UNKNOWN)


def table() -> str:
    """Return the table of architectures in Markdown: what each is, and on what its training was proven."""
    rows = [
        "| architecture | models | trains | samples | proven on tiny files | proven on real weights |",
        "|---|---|---|---|---|---|",
    ]
    for name, family in FAMILIES.items():
        rows.append(f"| {name} | {family.models} | yes | yes | yes | {family.proven_on or 'no'} |")
    rows += [f"| {', '.join(names)} | | no: {why} | yes | | |" for why, names in _UNTRAINABLE.items()]
    rows.append(f"| any other that llama.cpp runs | | no: {_UNKNOWN} | yes | | |")
    return "\n".join(rows)
