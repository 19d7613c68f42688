"""Check a folder of MLX weights before anything loads it, and read the metadata that a round needs.

A folder from the internet is untrusted input. Only safetensors, JSON and the text of the chat template are read: no
pickle, no Python file that a configuration names, and nothing is downloaded. A folder of safetensors as Hugging Face
has them is one too: mlx-lm reads both. Adapters are in `mlx_adapter.py`.
Not checked: whether mlx-lm knows the architecture, and whether the weights are any good.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from conself_local.errors import ConselfError
from conself_local.foreign_files import read_json, read_text, refusing
from conself_local.foreign_text import is_one_line
from conself_local.hashes import folder_sha256
from conself_local.model_files.mlx_weights import MlxWeights, read_mlx_weights

FOLDER_HINT = "give the folder of an MLX *instruct* model, as mlx_lm.convert writes it"
_MAX_JSON_BYTES = 64 * 2**20
"""Limit of one JSON file; the tokenizers of large vocabularies have 10 to 35 MB, and are not parsed here."""
_MAX_TEMPLATE_BYTES = 2**20
_MAX_NUMBER = 2**31
_MAX_FILES = 2_000
_RUNS_CODE = ("auto_map", "model_file", "custom_pipelines")
"""Keys of a configuration that make a library load Python code from the folder."""
_READ_FILES = ("*.json", "model*.safetensors", "*.jinja", "*.txt", "*.tiktoken", "*.model")
"""The files of a folder that mlx-lm reads, which its hash covers."""
_TEMPLATE_FILE = "chat_template.jinja"
_SPECIAL_TOKENS = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
_SNAPSHOT = re.compile(r"models--(.+?)--(.+)")
_DEFAULT_CONTEXT = 4096
"""Tokens of context of a folder that states none."""


@dataclass(frozen=True)
class MlxFolder:
    """The metadata of a chat model in a folder; the weights are not loaded."""

    path: Path
    files: tuple[str, ...]
    """Names of the files that the hash covers, sorted."""
    architecture: str
    """`model_type` of the configuration."""
    name: str
    stored: MlxWeights
    """What the headers of the safetensors files say."""
    vocabulary: int
    """Number of tokens; 0 if the configuration does not say."""
    context_length: int
    """Longest context in tokens."""
    block_count: int
    embedding_length: int
    head_count: int
    head_count_kv: int
    head_size: int
    chat_template: str
    special_tokens: Mapping[str, str] = field(hash=False)
    """Name in the chat template -> text of the token; only those that the folder has."""
    licence: str = ""
    """Always empty: a folder does not state it in a form that is read here."""
    state_bytes: int = 0
    """Always 0: recurrent layers are not looked at."""

    @property
    def sha256(self) -> str:
        """Hash of the names and contents of `files`, 64 hex digits; first access takes about one second per GB."""
        return folder_sha256(self.path, self.files)

    @property
    def template_hash(self) -> str:
        """First 32 hex digits of the sha256 of the chat template."""
        return hashlib.sha256(self.chat_template.encode()).hexdigest()[:32]

    @property
    def size_bytes(self) -> int:
        """Size of the weights."""
        return self.stored.size_bytes

    @property
    def weights(self) -> int:
        """Number of values of the model."""
        return self.stored.values

    @property
    def formats(self) -> tuple[tuple[str, int], ...]:
        """(name of a number format, number of tensors) pairs, the most frequent first: `4-bit`, `BF16`."""
        return tuple(Counter(self.stored.formats).most_common())

    @property
    def parts(self) -> tuple[Path, ...]:
        """The files of the weights."""
        return tuple(self.path / name for name in self.files if name.endswith(".safetensors"))

    @property
    def kv_bytes_per_token(self) -> int:
        """Bytes of 16-bit keys and values per token, all layers together."""
        return 4 * self.block_count * self.head_count_kv * self.head_size


def load_mlx_folder(folder: Path) -> MlxFolder:
    """Read and check a folder of MLX weights.

    Raises ConselfError if it is missing, incomplete or damaged, if it has no chat template, or if it would make a
    library run code from it.
    """
    folder = folder.resolve()
    if not folder.is_dir():
        raise ConselfError(f"there is no model folder at {folder}", FOLDER_HINT)
    names = _names(folder)
    config, tokenizer = (_settings(folder, name) for name in ("config.json", "tokenizer_config.json"))
    if not (folder / "tokenizer.json").is_file():
        raise ConselfError(f"{folder} has no tokenizer.json", FOLDER_HINT)
    text_config = config.get("text_config")
    values = config | text_config if isinstance(text_config, dict) else config
    architecture, name = config.get("model_type"), folder_name(folder)
    if not isinstance(architecture, str) or not is_one_line(architecture) or not is_one_line(name):
        raise ConselfError(f"{folder / 'config.json'} states no usable model_type", FOLDER_HINT)
    template = _template(folder, tokenizer)
    if not template:
        raise ConselfError(
            f"{folder} has no chat template, so prompts cannot be written in the form that the model expects",
            "use the *instruct* version of the model: its folder has chat_template.jinja, or a chat_template in "
            "tokenizer_config.json",
        )

    def number(key: str, default: int | None = None) -> int:
        return _number(folder, values, key, default)

    heads, width = number("num_attention_heads", 1), number("hidden_size")
    return MlxFolder(
        path=folder,
        files=tuple(name for name in names if any(Path(name).match(pattern) for pattern in _READ_FILES)),
        architecture=architecture,
        name=name,
        stored=read_mlx_weights(folder, names, config.get("quantization"), FOLDER_HINT),
        vocabulary=number("vocab_size", 0),
        context_length=number("max_position_embeddings", _DEFAULT_CONTEXT),
        block_count=number("num_hidden_layers"),
        embedding_length=width,
        head_count=heads,
        head_count_kv=number("num_key_value_heads", heads),
        head_size=number("head_dim", max(1, width // heads)),
        chat_template=template,
        special_tokens=_special_tokens(folder, tokenizer),
    )


def looks_like_mlx_folder(path: Path) -> bool:
    """Return whether a folder holds a configuration and safetensors; whether it can be used is not checked."""
    try:
        return (path / "config.json").is_file() and any(path.glob("model*.safetensors"))
    except OSError:
        return False  # it may not be read


def read_settings(path: Path) -> dict[str, Any]:
    """Return the JSON object of a file of a folder. Raises ConselfError if it is missing or damaged."""
    if not path.is_file():
        raise ConselfError(f"there is no {path.name} in {path.parent}", FOLDER_HINT)
    return read_json(path, _MAX_JSON_BYTES, "download the folder again")


def _names(folder: Path) -> list[str]:
    """Return the names of the files in the folder, sorted. Raises ConselfError if one of them is code."""
    with refusing(f"{folder} cannot be read", FOLDER_HINT):
        names = sorted(path.name for path in folder.iterdir() if path.is_file())
    if len(names) > _MAX_FILES:
        raise ConselfError(f"{folder} holds {len(names)} files, so it is not a model's folder", FOLDER_HINT)
    code = [name for name in names if name.endswith((".py", ".pyc", ".so"))]
    if code:
        raise ConselfError(
            f"{folder} holds code ({code[0][:100]}), and a model that needs its own code is not used",
            "use a model that mlx-lm supports without extra code; if it does not need the file, remove it from a copy",
        )
    return names


def _settings(folder: Path, name: str) -> dict[str, Any]:
    """Return a configuration of the folder. Raises ConselfError if it asks for code."""
    settings = read_settings(folder / name)
    nested = settings.get("text_config")
    for part in (settings, nested if isinstance(nested, dict) else {}):
        code = [key for key in _RUNS_CODE if key in part]
        if code:
            raise ConselfError(
                f"{folder / name} asks to run code from the model folder ({code[0]})",
                "use a model that mlx-lm supports without extra code",
            )
    return settings


def folder_name(folder: Path) -> str:
    """Return the name for people: the folder's, or `owner/model` of a snapshot of Hugging Face."""
    snapshot = _SNAPSHOT.fullmatch(folder.parent.parent.name) if folder.parent.name == "snapshots" else None
    return f"{snapshot[1]}/{snapshot[2]}" if snapshot else folder.name


def _template(folder: Path, tokenizer: Mapping[str, Any]) -> str:
    """Return the chat template: of its own file or, in older folders, of the tokenizer's configuration."""
    file = folder / _TEMPLATE_FILE
    if file.is_file():
        with refusing(f"{file} cannot be read", "download the folder again"):
            return read_text(file, _MAX_TEMPLATE_BYTES)
    found = tokenizer.get("chat_template")
    if isinstance(found, list):
        named = [one for one in found if isinstance(one, dict) and one.get("name") == "default"]
        found = named[0].get("template") if named else None
    return found if isinstance(found, str) else ""


def _special_tokens(folder: Path, tokenizer: Mapping[str, Any]) -> dict[str, str]:
    """Return the special tokens that the tokenizer's configuration names, each as a text."""
    path = folder / "special_tokens_map.json"
    stated: dict[str, Any] = (read_settings(path) if path.is_file() else {}) | dict(tokenizer)
    found = {}
    for name in _SPECIAL_TOKENS:
        token = stated.get(name)
        token = token.get("content") if isinstance(token, dict) else token
        if isinstance(token, str) and token:
            found[name] = token
    return found


def _number(folder: Path, values: Mapping[str, Any], key: str, default: int | None) -> int:
    """Return a whole number of the configuration; `default` if it is missing. Raises ConselfError if it is unusable."""
    value = values.get(key)
    value = default if value is None else value
    if type(value) is not int or not 0 <= value < _MAX_NUMBER or (value == 0 and default is None):
        raise ConselfError(
            f"{folder / 'config.json'} has no usable value for {key}",
            "use a language model that mlx-lm runs; if this is one, download the folder again",
        )
    return value
