"""Check a GGUF file before anything loads it, and read the metadata that a round needs.

A model file from the internet is untrusted input. It is opened with the `gguf` package's reader (memory-mapped; no
code in the file runs; `gguf_file.py`). A file that is damaged, of the wrong kind (`other_kinds.py`) or without a chat
template is refused with a message that says why. Not checked: whether the weights are any good.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from conself_local.errors import ConselfError
from conself_local.foreign_text import is_one_line
from conself_local.hashes import files_sha256
from conself_local.model_files.gguf_file import MODEL_HINT, GgufFile, open_gguf
from conself_local.model_files.other_kinds import verify_kind
from conself_local.model_files.recurrent import is_recurrent, state_bytes
from conself_local.model_files.split_files import PartName

_TOKENS = "tokenizer.ggml.tokens"
_SPECIAL_TOKENS = {
    "bos_token": "bos",
    "eos_token": "eos",
    "unk_token": "unknown",
    "sep_token": "seperator",
    "pad_token": "padding",
    "cls_token": "cls",
    "mask_token": "mask",
}
"""Name in a chat template -> name in the file, `tokenizer.ggml.NAME_token_id`; GGUF does spell it `seperator`."""


@dataclass(frozen=True)
class ModelFile:
    """The metadata of a chat model in a GGUF file; the weights are not loaded."""

    parts: tuple[Path, ...]
    """The files that hold the model, in order; a single one if it is not split."""
    size_bytes: int
    """Size of all parts together."""
    architecture: str
    name: str
    licence: str
    formats: tuple[tuple[str, int], ...]
    """(name of a quant_type, number of tensors) pairs, the most frequent type first."""
    weights: int
    """Number of values in all tensors together."""
    vocabulary: int
    """Number of tokens; 0 if the file lists none."""
    context_length: int
    """Longest context in tokens."""
    block_count: int
    embedding_length: int
    head_count: int
    head_count_kv: int
    """Key/value heads per layer; the most that a layer has."""
    all_heads_kv: int
    """Key/value heads of all layers together; 0 if no layer has attention."""
    head_sizes: int
    """Size of a head's keys and of its values together."""
    state_bytes: int
    """Bytes of recurrent state per slot, at most; 0 for a transformer."""
    chat_template: str
    special_tokens: Mapping[str, str] = field(hash=False)
    """Name in the chat template (`bos_token`, `eos_token`, ...) -> text of the token; only those that the file has."""
    end_token: int | None
    """Token with which llama.cpp must be told to end answers: the end of a turn, if the file names no end of text."""

    @property
    def path(self) -> Path:
        """The model's file, or its first part, by which llama.cpp loads all parts."""
        return self.parts[0]

    @property
    def sha256(self) -> str:
        """Hash of the whole file or of all parts, 64 hex digits; first access takes about one second per gigabyte."""
        return files_sha256(self.parts)

    @property
    def template_hash(self) -> str:
        """First 32 hex digits of the sha256 of the chat template."""
        return hashlib.sha256(self.chat_template.encode()).hexdigest()[:32]

    @property
    def kv_bytes_per_token(self) -> int:
        """Bytes of 16-bit keys and values per token, all layers together."""
        return 2 * self.all_heads_kv * self.head_sizes


def load_model_file(path: Path) -> ModelFile:
    """Read and check the metadata of a chat model; any part of a split model stands for all of it.

    Raises ConselfError if the file, or a part, is missing, unreadable or damaged, if it is not a model that continues
    text, or if it has no chat template or end token.
    """
    file = open_gguf(path)
    architecture = file.text("general.architecture")
    verify_kind(path, file, architecture)
    name = file.shown_text("general.name", PartName.model_of(path))
    if not is_one_line(architecture) or not is_one_line(name):
        raise ConselfError(f"the name or the architecture in {path} holds control characters", MODEL_HINT)
    template = file.text("tokenizer.chat_template")
    if not template:
        raise ConselfError(
            f"{path.name} has no chat template, so prompts cannot be written in the form that the model expects",
            "use the *instruct* version of the model: its GGUF contains the template (tokenizer.chat_template)",
        )

    def numbers(key: str, default: list[int] | None = None) -> list[int]:
        return _numbers(file, path, f"{architecture}.{key}", default)

    special_tokens = _special_tokens(file, template)
    end_token = None if "eos_token" in special_tokens else _end_of_turn(file, path)
    if end_token is not None:
        special_tokens["eos_token"] = file.item(_TOKENS, end_token)
    recurrent = is_recurrent(file, architecture)
    layers, width = max(numbers("block_count")), max(numbers("embedding_length"))
    heads = numbers("attention.head_count", [0] if recurrent else None)
    heads_kv = numbers("attention.head_count_kv", heads)
    shared = width // max(1, *heads)
    sizes = [max(numbers(f"attention.{what}_length", [shared])) for what in ("key", "value")]
    attending = -(-layers // max(numbers("full_attention_interval", [1])))
    types = Counter(tensor.tensor_type.name for tensor in file.tensors)
    return ModelFile(
        parts=file.parts if len(file.parts) > 1 else (path.resolve(),),
        size_bytes=sum(part.stat().st_size for part in file.parts),
        architecture=architecture,
        name=name,
        licence=file.shown_text("general.license"),
        formats=tuple(types.most_common()),
        weights=sum(int(tensor.n_elements) for tensor in file.tensors),
        vocabulary=file.count(_TOKENS),
        context_length=max(numbers("context_length")),
        block_count=layers,
        embedding_length=width,
        head_count=max(heads),
        head_count_kv=max(heads_kv),
        all_heads_kv=sum(heads_kv) if len(heads_kv) > 1 else attending * heads_kv[0],
        head_sizes=sum(sizes),
        state_bytes=state_bytes(file, architecture, layers=layers, width=width, heads=max(heads)) if recurrent else 0,
        chat_template=template,
        special_tokens=special_tokens,
        end_token=end_token,
    )


def _numbers(file: GgufFile, path: Path, key: str, default: list[int] | None) -> list[int]:
    """Return the numbers under a key, one per layer or one for all; `default` if none is above 0.

    Raises ConselfError if there is no such number and no default.
    """
    stated = file.value(key)
    stated = stated if isinstance(stated, list) else [stated]
    values = [value for value in stated if type(value) is int and 0 <= value < 2**31]
    if default is not None and not any(stated):
        return default
    if len(values) < len(stated) or not any(values):
        raise ConselfError(f"{path.name} has no usable value for {key}", "the file is damaged; download it again")
    return values


def _end_of_turn(file: GgufFile, path: Path) -> int:
    """Return the token that ends a turn. Raises ConselfError if the file names none either."""
    found = file.value("tokenizer.ggml.eot_token_id")
    if not isinstance(found, int) or not file.item(_TOKENS, found):
        raise ConselfError(
            f"{path.name} defines no end token (tokenizer.ggml.eos_token_id), so its answers would never end",
            "get a complete file, or add it to a copy: gguf-new-metadata --special-token-by-id eos ID FILE COPY",
        )
    return found


def _special_tokens(file: GgufFile, template: str) -> dict[str, str]:
    """Return name -> text of the tokens that the file has; one that is not UTF-8 is left out unless it is needed."""
    found = {}
    for name, key in _SPECIAL_TOKENS.items():
        try:
            token = file.item(_TOKENS, file.value(f"tokenizer.ggml.{key}_token_id"))
        except ConselfError:
            if name == "eos_token" or name in template:
                raise
            continue
        if token:
            found[name] = token
    return found


def verify_adapter_file(path: Path, model: ModelFile) -> None:
    """Check a GGUF LoRA adapter before an engine loads it.

    Raises ConselfError if the file is missing, damaged or not a LoRA adapter, or if it is for another architecture.
    """
    file = open_gguf(path, "adapter")
    if file.text("general.type") != "adapter" or file.text("adapter.type") != "lora" or not file.tensors:
        raise ConselfError(f"{path} is not a LoRA adapter", "give the GGUF file that `conself adapters` names")
    architecture = file.text("general.architecture")
    if architecture != model.architecture:
        raise ConselfError(
            f"the adapter {path.name} is for the architecture {architecture}, and the model is {model.architecture}",
            "use the adapter with the model that it was trained on",
        )
