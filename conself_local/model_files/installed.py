"""Find the models that are already on this computer: GGUF files and folders of MLX weights.

Those are the models of LM Studio, Ollama, llama.cpp and Hugging Face, the bundled one, and those that
`conself models get` downloaded. Only the usual folders are searched and only metadata is read; no model is loaded and
nothing is downloaded.
Sources of the folders: documentation of LM Studio and Ollama, llama.cpp common/arg.cpp, huggingface_hub constants.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conself_local.errors import ConselfError
from conself_local.home import user_home
from conself_local.machine.mlx import mlx_fault
from conself_local.machine.resources import available_memory_bytes
from conself_local.machine.room import gib
from conself_local.model_files.bundled import bundled_model
from conself_local.model_files.chat_template import template_fault
from conself_local.model_files.memory import mlx_bytes, sampling_bytes, training_bytes
from conself_local.model_files.mlx_folder import MlxFolder, folder_name, looks_like_mlx_folder
from conself_local.model_files.model import Model, open_model
from conself_local.model_files.ollama import ollama_models
from conself_local.model_files.scan import scan
from conself_local.model_files.split_files import PartName
from conself_local.model_files.trainable import verify_trainable

_OLLAMA_OF_THE_SYSTEM = Path("/usr/share/ollama/.ollama/models")
"""Where Ollama keeps models on Linux if it runs as a service."""

_SHORT_CONTEXT = 1024
"""Tokens of one slot, enough for a short problem and its program."""


@dataclass(frozen=True)
class FoundModel:
    """A GGUF file or a folder that was found, and what it can be used for on this computer."""

    source: str
    """`bundled`, `conself`, `LM Studio`, `Ollama`, `llama.cpp` or `Hugging Face`."""
    name: str
    path: Path
    file: Model | None
    """Its metadata; None if it cannot be used."""
    exclusion_reason: str
    """Why it cannot be used, or cannot be trained here; empty if it can be used and trained."""
    ignored: tuple[str, ...] = ()
    """A sentence for each thing that the other tool adds to the model and that is ignored here."""


@dataclass(frozen=True)
class _Candidate:
    """A file or a folder that may be a model."""

    source: str
    name: str
    path: Path
    ignored: tuple[str, ...] = ()


def find_models(home: Path | None = None, fetched: Path | None = None) -> list[FoundModel]:
    """Return the models that are on this computer; a file that several tools link to is returned once.

    A split model is one model, and vision models (mmproj) are skipped. home: the user's home folder (default: the real
    one); fetched: the folder of `conself models get`.
    """
    found: dict[Path, FoundModel] = {}
    for candidate in _files(home or user_home(), fetched):
        real = candidate.path.resolve()
        model = found.get(real) or inspect_model(candidate.source, candidate.name, candidate.path)
        ignored = tuple(dict.fromkeys((*model.ignored, *candidate.ignored)))
        found[real] = dataclasses.replace(model, ignored=ignored)
    return list(found.values())


def describe_models(found: Sequence[FoundModel]) -> list[dict[str, Any]]:
    """Return one row per model: a sentence for people under `what`, and the facts for programs under other keys."""
    return [_describe(model) for model in found]


def _describe(model: FoundModel) -> dict[str, Any]:
    row: dict[str, Any] = {"source": model.source, "name": model.name, "path": str(model.path)}
    file = model.file
    row["ignored"] = list(model.ignored)
    if file is None:
        return row | {"usable": False, "trainable": False, "what": f"cannot be used: {model.exclusion_reason}"}
    quant_type, _ = file.formats[0]
    trained = (
        f"not trainable here: {model.exclusion_reason}"
        if model.exclusion_reason
        else f"trainable in at least {gib(training_bytes(file))}"
    )
    sampled = _sampling_bytes(file)
    size = gib(file.size_bytes) + (f" in {len(file.parts)} parts" if len(file.parts) > 1 else "")
    what = (
        f"{file.architecture}, {file.weights / 1e6:.0f} M weights, {size}, mostly {quant_type}, "
        f"context {file.context_length}, licence {file.licence or 'not stated'}; "
        f"samples in at least {gib(sampled)}; {trained}"
    )
    what = "; ".join([what, *model.ignored])
    return row | {
        "usable": True,
        "trainable": not model.exclusion_reason,
        "architecture": file.architecture,
        "weights": file.weights,
        "size_bytes": file.size_bytes,
        "parts": len(file.parts),
        "format": quant_type,
        "context_length": file.context_length,
        "licence": file.licence,
        "sampling_bytes": sampled,
        "training_bytes": training_bytes(file),
        "what": what,
    }


def _sampling_bytes(file: Model) -> int:
    """Return the memory that one slot with a short context needs."""
    context = min(file.context_length, _SHORT_CONTEXT)
    if isinstance(file, MlxFolder):
        return mlx_bytes(file, context)
    return sampling_bytes(file, file.size_bytes, context, slots=1)


def inspect_model(source: str, name: str, path: Path) -> FoundModel:
    """Return what one file or folder can be used for on this computer; only its metadata is read."""
    if path.is_dir() and (fault := mlx_fault()):
        return FoundModel(source, name, path, None, fault)
    try:
        file = open_model(path)
    except ConselfError as error:
        return FoundModel(source, name, path, None, error.message)
    if fault := template_fault(file):
        return FoundModel(source, name, path, None, fault)
    return FoundModel(source, name, path, file, _untrainable_reason(file))


def _untrainable_reason(file: Model) -> str:
    try:
        verify_trainable(file)
    except ConselfError as error:
        return error.message
    needed, free = training_bytes(file), available_memory_bytes()
    return (
        f"training needs more than {needed >> 20} MiB of memory, and {free >> 20} MiB are free"
        if free is not None and needed > free
        else ""
    )


def _files(home: Path | None, fetched: Path | None) -> Iterator[_Candidate]:
    """Yield every file that may be a model; a file may be yielded more than once."""
    with contextlib.suppress(ConselfError):
        yield _Candidate("bundled", "SmolLM2-135M-Instruct", bundled_model())
    if fetched:
        yield from _gguf_files("conself", fetched)
        yield from _mlx_folders("conself", fetched)
    if home is None:
        return
    hub = Path(os.environ.get("HF_HUB_CACHE") or Path(os.environ.get("HF_HOME") or home / ".cache/huggingface") / "hub")
    folders = (
        ("LM Studio", home / ".lmstudio/models"),
        ("LM Studio", home / ".cache/lm-studio/models"),
        ("llama.cpp", Path(os.environ.get("LLAMA_CACHE") or home / ".cache/llama.cpp")),
        ("llama.cpp", home / "Library/Caches/llama.cpp"),
        ("Hugging Face", hub),
    )
    for source, folder in folders:
        yield from _gguf_files(source, folder)
        yield from _mlx_folders(source, folder)
    yield from _ollama(Path(os.environ.get("OLLAMA_MODELS") or home / ".ollama/models"))
    yield from _ollama(_OLLAMA_OF_THE_SYSTEM)


def _gguf_files(source: str, folder: Path) -> Iterator[_Candidate]:
    """Yield the GGUF files under a folder; of the parts of a split model, only the first one that is there."""
    split = set()
    for path in scan(folder, "*.gguf"):
        part = PartName.parse(f"{path.stem}.gguf")
        model = part and (path.parent, part.model, part.count)
        if "mmproj" not in path.name and (model is None or model not in split):
            yield _Candidate(source, PartName.model_of(path), path)
        split.add(model)


def _mlx_folders(source: str, folder: Path) -> Iterator[_Candidate]:
    """Yield the folders of MLX weights, or of safetensors with a tokenizer, under a folder."""
    for path in scan(folder, "config.json"):
        found = path.parent
        if looks_like_mlx_folder(found) and (found / "tokenizer.json").is_file():
            yield _Candidate(source, folder_name(found), found)


def _ollama(folder: Path) -> Iterator[_Candidate]:
    return (_Candidate("Ollama", model.name, model.path, model.ignored) for model in ollama_models(folder))
