"""Check a GGUF file before anything loads it, and read the metadata that a round needs.

A model file from the internet is untrusted input. It is opened with the `gguf` package's reader (memory-mapped; no
code in the file runs). A file that is cut short, not a GGUF, of the wrong kind or without a chat template is refused
with a message that says why. Not checked: whether the weights are any good.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from conself_local.errors import ConselfError
from conself_local.foreign_files import open_regular, refusing
from conself_local.foreign_text import is_one_line
from conself_local.hashes import file_sha256

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
_MODEL_HINT = "give the path of a GGUF file of an instruct model, for example one that LM Studio or llama.cpp runs"


@dataclass(frozen=True)
class ModelFile:
    """The metadata of a chat model in a GGUF file; the weights are not loaded."""

    path: Path
    size_bytes: int
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
    chat_template: str
    special_tokens: Mapping[str, str] = field(hash=False)
    """Name in the chat template (`bos_token`, `eos_token`, ...) -> text of the token; only those that the file has."""

    @property
    def sha256(self) -> str:
        """Hash of the whole file, 64 hex digits; the first access takes about one second per gigabyte."""
        return file_sha256(self.path)

    @property
    def template_hash(self) -> str:
        """First 32 hex digits of the sha256 of the chat template."""
        return hashlib.sha256(self.chat_template.encode()).hexdigest()[:32]

    @property
    def kv_bytes_per_token(self) -> int:
        """Bytes of 16-bit keys and values per token, all layers together."""
        head_size = self.embedding_length // self.head_count
        return 2 * 2 * self.block_count * self.head_count_kv * head_size


def load_model_file(path: Path) -> ModelFile:
    """Read and check the metadata of a chat model.

    Raises ConselfError if the file is missing, unreadable or damaged, if it is an adapter, or if it has no
    architecture, tensors, chat template or end token.
    """
    _verify_magic(path, "model")
    fields, tensors = _read(path, "model")

    def text(key: str, default: str = "") -> str:
        value = fields.get(key, default)
        return value if isinstance(value, str) else default

    if text("general.type", "model") == "adapter":
        raise ConselfError(f"{path} is a LoRA adapter, not a model", _MODEL_HINT)
    architecture, name = text("general.architecture"), text("general.name", path.stem)
    if not is_one_line(architecture) or not is_one_line(name):
        raise ConselfError(f"the name or the architecture in {path} holds control characters", _MODEL_HINT)
    if not architecture or not tensors:
        raise ConselfError(f"{path} contains no model (no architecture or no tensors)", _MODEL_HINT)
    template = text("tokenizer.chat_template")
    if not template:
        raise ConselfError(
            f"{path.name} has no chat template, so prompts cannot be written in the form that the model expects",
            "use the *instruct* version of the model: its GGUF contains the template (tokenizer.chat_template)",
        )

    def number(key: str) -> int:
        value = fields.get(f"{architecture}.{key}")
        if isinstance(value, list) and value:
            value = max(value)
        if not isinstance(value, int) or not 0 < value < 2**31:
            raise ConselfError(
                f"{path.name} has no usable value for {architecture}.{key}", "the file is damaged; download it again"
            )
        return value

    tokens = fields.get("tokenizer.ggml.tokens")
    found = {
        name: _token(tokens, fields.get(f"tokenizer.ggml.{key}_token_id")) for name, key in _SPECIAL_TOKENS.items()
    }
    special_tokens = {name: token for name, token in found.items() if token}
    if "eos_token" not in special_tokens:
        raise ConselfError(f"{path.name} defines no end token, so its answers would never end", _MODEL_HINT)
    head_count = number("attention.head_count")
    counts: dict[str, int] = {}
    for tensor_type, _ in tensors:
        counts[tensor_type] = counts.get(tensor_type, 0) + 1
    return ModelFile(
        path=path.resolve(),
        size_bytes=path.stat().st_size,
        architecture=architecture,
        name=name,
        licence=text("general.license"),
        formats=tuple(sorted(counts.items(), key=lambda item: -item[1])),
        weights=sum(size for _, size in tensors),
        vocabulary=len(tokens) if isinstance(tokens, list) else 0,
        context_length=number("context_length"),
        block_count=number("block_count"),
        embedding_length=number("embedding_length"),
        head_count=head_count,
        head_count_kv=number("attention.head_count_kv")
        if f"{architecture}.attention.head_count_kv" in fields
        else head_count,
        chat_template=template,
        special_tokens=special_tokens,
    )


def verify_adapter_file(path: Path, model: ModelFile) -> None:
    """Check a GGUF LoRA adapter before an engine loads it.

    Raises ConselfError if the file is missing, damaged or not a LoRA adapter, or if it is for another architecture.
    """
    _verify_magic(path, "adapter")
    fields, tensors = _read(path, "adapter")
    if fields.get("general.type") != "adapter" or fields.get("adapter.type") != "lora" or not tensors:
        raise ConselfError(f"{path} is not a LoRA adapter", "give the GGUF file that `conself adapters` names")
    architecture = fields.get("general.architecture")
    if architecture != model.architecture:
        raise ConselfError(
            f"the adapter {path.name} is for the architecture {architecture}, and the model is {model.architecture}",
            "use the adapter with the model that it was trained on",
        )


def _verify_magic(path: Path, what: str) -> None:
    if not path.exists() or path.is_dir():
        raise ConselfError(f"there is no {what} file at {path}", _MODEL_HINT if what == "model" else "check the path")
    try:
        with open_regular(path) as file:
            head = file.read(24)
    except OSError as error:
        raise ConselfError(f"{path} cannot be read: {error.strerror}", "check the file's permissions") from error
    if head[:4] != b"GGUF":
        raise ConselfError(f"{path} is not a GGUF file (it does not begin with GGUF)", _MODEL_HINT)
    if len(head) < 24 or struct.unpack("<I", head[4:8])[0] not in (2, 3):
        raise ConselfError(f"{path} is cut short or of an unknown GGUF version", "download the file again")


def _read(path: Path, what: str) -> tuple[dict[str, object], list[tuple[str, int]]]:
    """Return the metadata fields that are used, and (name of the quant_type, number of values) for each tensor."""
    from conself_local.model_files.gguf_reader import GgufReader

    with refusing(f"{path} is damaged or cut short", f"replace the {what} file by an undamaged one"):
        reader = GgufReader(path)
        architecture_field = reader.fields.get("general.architecture")
        architecture = architecture_field.contents() if architecture_field else ""
        wanted = ("general.", "adapter.", "tokenizer.chat_template", "tokenizer.ggml.tokens", f"{architecture}.")
        fields = {
            key: stored.contents()
            for key, stored in reader.fields.items()
            if key.startswith(wanted) or (key.startswith("tokenizer.ggml.") and key.endswith("_token_id"))
        }
        return fields, [(tensor.tensor_type.name, int(tensor.n_elements)) for tensor in reader.tensors]


def _token(tokens: object, index: object) -> str:
    if isinstance(tokens, list) and isinstance(index, int) and 0 <= index < len(tokens):
        return str(tokens[index])
    return ""
