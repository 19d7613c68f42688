"""Recognise models with recurrent layers (Mamba, RWKV and hybrids of them), and compute the memory of their state.

Such a model keeps a state of fixed size per slot, in place of keys and values for each token, and may state no
attention heads. It can be sampled, but llama.cpp cannot copy a part of a state, so slots share no prefixes. Adapters of
such models are not trained here.
Source: llama.cpp, src/llama-hparams.cpp (`n_embd_r`, `n_embd_s`) and llama-arch.cpp; read and restated.
"""

from __future__ import annotations

import re

from conself_local.model_files.gguf_file import GgufFile

_ARCHITECTURES = re.compile(
    r".*(mamba|rwkv).*|jamba|plamo2|granite-?hybrid|falcon-h1|nemotron_h.*|lfm2.*|qwen3next|qwen35.*|kimi-linear"
)
_KEYS = ("ssm.", "wkv.", "shortconv.", "kda.")
_BYTES = 4
"""Bytes per value: llama.cpp keeps states in float32."""
_TOKEN_SHIFTS = 2


def is_recurrent(file: GgufFile, architecture: str) -> bool:
    """Return whether a model has recurrent layers, by its architecture or by what its metadata state."""
    begins = tuple(f"{architecture}.{key}" for key in _KEYS)
    return bool(_ARCHITECTURES.fullmatch(architecture)) or any(key.startswith(begins) for key in file.fields)


def state_bytes(file: GgufFile, architecture: str, *, layers: int, width: int, heads: int) -> int:
    """Return an upper bound of the recurrent state's bytes per slot: as if all layers were recurrent."""

    def value(key: str) -> int:
        found = file.value(f"{architecture}.{key}", 0)
        found = max(found, default=0) if isinstance(found, list) else found
        return found if isinstance(found, int) and 0 < found < 2**31 else 0

    inner, state, groups = value("ssm.inner_size"), value("ssm.state_size"), value("ssm.group_count")
    kernel, wkv, kda = max(value("ssm.conv_kernel") - 1, 0), value("wkv.head_size"), value("kda.head_dim")
    values = kernel * (inner + 2 * groups * state) + state * inner
    values += width * wkv + (_TOKEN_SHIFTS * width if wkv else 0)
    values += width * max(value("shortconv.l_cache") - 1, 0)
    values += heads * kda * (kda + 3 * kernel)
    return _BYTES * layers * values
