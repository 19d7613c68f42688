"""Find the GGUF models that are already on this computer.

Those are the models of LM Studio, Ollama, llama.cpp and Hugging Face, the bundled one, and those that
`conself models get` downloaded. Only the usual folders are searched and only metadata is read; no model is loaded and
nothing is downloaded.
Sources of the folders: documentation of LM Studio and Ollama, llama.cpp common/arg.cpp, huggingface_hub constants.
"""

from __future__ import annotations

import contextlib
import fnmatch
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conself_local.errors import ConselfError
from conself_local.foreign_files import PARSER_ERRORS, read_text
from conself_local.home import user_home
from conself_local.machine.resources import available_memory_bytes
from conself_local.machine.room import gib
from conself_local.model_files.bundled import bundled_model
from conself_local.model_files.chat_template import template_fault
from conself_local.model_files.gguf_weights import read_weights
from conself_local.model_files.memory import training_bytes
from conself_local.model_files.model_file import ModelFile, load_model_file

_MODEL_LAYER = "application/vnd.ollama.image.model"
_MAX_MANIFEST_BYTES = 2**20
_MAX_DEPTH = 12
_MAX_FOLDERS = 20_000
_OLLAMA_OF_THE_SYSTEM = Path("/usr/share/ollama/.ollama/models")
"""Where Ollama keeps models on Linux if it runs as a service."""


@dataclass(frozen=True)
class FoundModel:
    """A GGUF file that was found, and what it can be used for on this computer."""

    source: str
    """`bundled`, `conself`, `LM Studio`, `Ollama`, `llama.cpp` or `Hugging Face`."""
    name: str
    path: Path
    file: ModelFile | None
    """Its metadata; None if it cannot be used."""
    exclusion_reason: str
    """Why it cannot be used, or cannot be trained here; empty if it can be used and trained."""


def find_models(home: Path | None = None, fetched: Path | None = None) -> list[FoundModel]:
    """Return the models that are on this computer; a file that several tools link to is returned once.

    Parts of split files and vision models (mmproj) are skipped. home: the user's home folder (default: the real one);
    fetched: the folder of `conself models get`.
    """
    found, seen = [], set()
    for source, name, path in _files(home or user_home(), fetched):
        real = path.resolve()
        if real not in seen:
            seen.add(real)
            found.append(_inspect(source, name, path))
    return found


def describe_models(found: Sequence[FoundModel]) -> list[dict[str, Any]]:
    """Return one row per model: a sentence for people under `what`, and the facts for programs under other keys."""
    return [_describe(model) for model in found]


def _describe(model: FoundModel) -> dict[str, Any]:
    row: dict[str, Any] = {"source": model.source, "name": model.name, "path": str(model.path)}
    file = model.file
    if file is None:
        return row | {"usable": False, "trainable": False, "what": f"cannot be used: {model.exclusion_reason}"}
    quant_type, _ = file.formats[0]
    trained = (
        f"not trainable here: {model.exclusion_reason}"
        if model.exclusion_reason
        else f"trainable in at least {gib(training_bytes(file))}"
    )
    what = (
        f"{file.architecture}, {file.weights / 1e6:.0f} M weights, {gib(file.size_bytes)}, mostly {quant_type}, "
        f"context {file.context_length}, licence {file.licence or 'not stated'}; {trained}"
    )
    return row | {
        "usable": True,
        "trainable": not model.exclusion_reason,
        "architecture": file.architecture,
        "weights": file.weights,
        "size_bytes": file.size_bytes,
        "format": quant_type,
        "context_length": file.context_length,
        "licence": file.licence,
        "training_bytes": training_bytes(file),
        "what": what,
    }


def _inspect(source: str, name: str, path: Path) -> FoundModel:
    try:
        file = load_model_file(path)
    except ConselfError as error:
        return FoundModel(source, name, path, None, error.message)
    if fault := template_fault(file):
        return FoundModel(source, name, path, None, fault)
    return FoundModel(source, name, path, file, _untrainable_reason(file))


def _untrainable_reason(file: ModelFile) -> str:
    try:
        read_weights(file)
    except ConselfError as error:
        return error.message
    needed, free = training_bytes(file), available_memory_bytes()
    return (
        f"training needs more than {needed >> 20} MiB of memory, and {free >> 20} MiB are free"
        if free is not None and needed > free
        else ""
    )


def _files(home: Path | None, fetched: Path | None) -> Iterator[tuple[str, str, Path]]:
    """Yield (source, name, path) of every candidate file; a file may be yielded more than once."""
    with contextlib.suppress(ConselfError):
        yield "bundled", "SmolLM2-135M-Instruct", bundled_model()
    if fetched:
        yield from _gguf_files("conself", fetched)
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
    yield from _ollama(Path(os.environ.get("OLLAMA_MODELS") or home / ".ollama/models"))
    yield from _ollama(_OLLAMA_OF_THE_SYSTEM)


def _gguf_files(source: str, folder: Path) -> Iterator[tuple[str, str, Path]]:
    for path in _scan(folder, "*.gguf"):
        if "mmproj" not in path.name and "-of-0" not in path.name:
            yield source, path.stem, path


def _ollama(folder: Path) -> Iterator[tuple[str, str, Path]]:
    """Yield (source, name, path) of Ollama's models, found through its manifests.

    A manifest names its blobs: `manifests/REGISTRY/OWNER/NAME/TAG` -> `blobs/sha256-...`.
    """
    for manifest in _scan(folder / "manifests", "*"):
        try:
            layers = json.loads(read_text(manifest, _MAX_MANIFEST_BYTES))["layers"]
            digests = [str(layer["digest"]) for layer in layers if layer["mediaType"] == _MODEL_LAYER]
        except (OSError, *PARSER_ERRORS):
            continue  # other files may lie there too, and only a manifest can say which model it names
        for digest in digests:
            path = folder / "blobs" / digest.replace(":", "-")
            if path.parent == folder / "blobs" and _is_file(path):
                yield "Ollama", f"{manifest.parent.name}:{manifest.name}", path


def _scan(folder: Path, pattern: str) -> list[Path]:
    """Return the regular files under a folder whose names match in any case, at most `_MAX_DEPTH` folders deep.

    Links to folders are followed, each folder once and at most `_MAX_FOLDERS` in all.
    """
    found, seen = [], set()
    for inside, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(inside)
        if real in seen or len(Path(inside).relative_to(folder).parts) >= _MAX_DEPTH:
            folders.clear()
        if real not in seen:
            matching = (Path(inside) / name for name in names if fnmatch.fnmatch(name.lower(), pattern))
            found += [path for path in matching if _is_file(path)]
        seen.add(real)
        if len(seen) >= _MAX_FOLDERS:
            break
    return sorted(found)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:
        return False  # its name is too long, for example
