"""Recognise GGUF files that hold no chat model of the kind that can be used here, and say what each is.

An adapter, a projector, a vocabulary, a speech or image model, an encoder and a diffusion model are all GGUF files, and
each needs another message than "damaged". They are recognised by what they state and hold; names of architectures
decide only where a converter writes nothing else.
Not covered: chat models whose metadata are damaged (`model_file.py`).
Source: llama.cpp, src/llama-arch.cpp and llama-hparams; gguf-py, constants.py; read and restated.
"""

from __future__ import annotations

import re
from pathlib import Path

from conself_local.errors import ConselfError
from conself_local.model_files.gguf_file import MODEL_HINT, GgufFile

_CHAT_HINT = "use a chat model; `conself models get` lists some"
_TYPES = {
    "imatrix": "an importance matrix, which quantising uses",
    "controlvector": "a control vector",
    "mmproj": "a projector (mmproj), the part of a model that reads images or sound",
}
"""Value of general.type, or an architecture -> what the file is; `clip` is the architecture of projectors."""
_ENCODER = re.compile(r".*bert.*|t5encoder|(gemma|llama)-embed.*")
_RANK = 4
"""llama.cpp's pooling type of rerankers."""
_DIFFUSION = re.compile(r"dream.*|llada.*|rnd1|.*diffusion.*")


def verify_kind(path: Path, file: GgufFile, architecture: str) -> None:
    """Raise ConselfError if the file is no model that continues text.

    The message says what the file at `path` is, and the hint what to do.
    """
    found = _not_a_model(file, architecture) or _not_usable(file, architecture)
    if found:
        raise ConselfError(f"{path} {found[0]}", found[1])


def _not_a_model(file: GgufFile, architecture: str) -> tuple[str, str] | None:
    kind, names = file.text("general.type", "model"), [tensor.name for tensor in file.tensors]
    if kind == "adapter" or {name[-7:] for name in names} == {".lora_a", ".lora_b"}:
        return "is a LoRA adapter, not a model", (
            f"give the file of its model; an adapter is taken in with: conself import-adapter {file.parts[0]} --model "
            "MODEL --use"
        )
    if "mmproj" in kind or architecture == "clip":
        return f"is {_TYPES['mmproj']}, not a language model", "give the file of the language model beside it"
    if (what := _TYPES.get(kind) or _TYPES.get(architecture)) or kind not in ("model", ""):
        return f"is {what or f'of the type {kind!r:.40}'}, not a model", MODEL_HINT
    if not names and file.count("tokenizer.ggml.tokens"):
        return "holds a vocabulary only, and no weights", MODEL_HINT
    if not architecture or not names:
        return "contains no model (no architecture or no tensors)", MODEL_HINT
    return None


def _not_usable(file: GgufFile, architecture: str) -> tuple[str, str] | None:
    named = f"(architecture {architecture:.40})"
    if _DIFFUSION.fullmatch(architecture) or any(key.startswith("diffusion.") for key in file.fields):
        return f"is a diffusion model {named}, which does not write one token after the other", _CHAT_HINT
    if any(tensor.name.startswith("enc.") for tensor in file.tensors) and not _ENCODER.fullmatch(architecture):
        return f"is an encoder-decoder model {named}, which does not continue a chat", _CHAT_HINT
    pooling = file.value(f"{architecture}.pooling_type", 0)
    causal = file.value(f"{architecture}.attention.causal", True)
    if _ENCODER.fullmatch(architecture) or causal is False or pooling != 0:
        what = "a reranker" if pooling == _RANK else "an embedding model"
        return f"is {what} {named}: it turns text into numbers and writes none", _CHAT_HINT
    if not file.count("tokenizer.ggml.tokens"):
        template = "" if file.text("tokenizer.chat_template") else "no chat template and "
        return f"has {template}no vocabulary {named}, so it is not a language model", MODEL_HINT
    return None
