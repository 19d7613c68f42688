"""Decide which GGUF files OpenVINO GenAI's reader reads rightly, from what the file states.

The reader (version 2026.4) builds the model from the architecture and a few numbers. It refuses some architectures and
silently ignores what it does not know: scaled positions, additional biases. The tests prove on tiny files that the
models that pass here have the log-probabilities of llama.cpp, and that those that are refused have not. Not done here:
measuring the difference on the file itself (`sampling/openvino_proof.py`).
"""

from __future__ import annotations

import re

from conself_local.model_files.gguf_file import open_gguf
from conself_local.model_files.model_file import ModelFile

F16, Q8_0 = "F16", "Q8_0"
OPENVINO_FORMATS = (F16, Q8_0)
"""The weights formats that its reader takes without rounding them again; the first one is nearest to the file."""
_MAPS = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down", "attn_norm", "ffn_norm")
_BIASES = ("attn_q", "attn_k", "attn_v")
_PARTS: dict[str, frozenset[str]] = {
    "llama": frozenset(f"{name}.weight" for name in _MAPS),
    "qwen2": frozenset([*(f"{name}.weight" for name in _MAPS), *(f"{name}.bias" for name in _BIASES)]),
    "qwen3": frozenset(f"{name}.weight" for name in (*_MAPS, "attn_q_norm", "attn_k_norm")),
}
"""Architecture -> the tensors of a layer that its reader uses."""
_OUTER = frozenset({"token_embd.weight", "output_norm.weight", "output.weight"})
_LAYER = re.compile(r"blk\.\d+\.(.+)")
_IGNORED_KEYS = ("rope.scaling.", "rope.scale", "attention.scale", "attention.sliding_window", "expert_")
"""Beginnings of keys (without the architecture) that change the model and that its reader ignores."""
_HARMLESS_KEYS = ("rope.scaling.original_context_length", "rope.scaling.finetuned")
"""Keys of these beginnings that change nothing by themselves."""
_NEUTRAL = (None, 0, 0.0, 1, 1.0, "none")
"""Values of such keys that change nothing."""


def unreadable_reason(model: ModelFile) -> str | None:
    """Return why OpenVINO GenAI would not read this model rightly; None if nothing in the file speaks against it."""
    parts = _PARTS.get(model.architecture)
    if parts is None:
        return f"its reader knows {', '.join(_PARTS)}, not {model.architecture}"
    file = open_gguf(model.path)
    for tensor in file.tensors:
        layer = _LAYER.fullmatch(tensor.name)
        if tensor.name not in _OUTER and (layer is None or layer[1] not in parts):
            return f"its reader ignores the tensor {tensor.name}"
    prefix = f"{model.architecture}."
    for key in file.fields:
        short = key.removeprefix(prefix)
        is_ignored = key != short and short.startswith(_IGNORED_KEYS) and short not in _HARMLESS_KEYS
        if is_ignored and file.value(key) not in _NEUTRAL:
            return f"its reader ignores {key}"
    head, rotated = model.head_sizes // 2, file.value(f"{prefix}rope.dimension_count")
    if isinstance(rotated, int) and rotated not in (0, head):
        return f"its reader rotates whole heads, and the file rotates {rotated} of {head} values"
    return None
