"""Find the GGUF models of Ollama through its manifests, and what Ollama adds to each of them.

A manifest names the layers of a model: `manifests/REGISTRY/OWNER/NAME/TAG` -> `blobs/sha256-...`. Only the model itself
is used here: an adapter layer and a projector layer (for images) are ignored, and users are told so.
Not covered: templates, parameters and system prompts of manifests; the model file's own chat template is used.
Source: Ollama, docs and server/images.go; read and restated.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from conself_local.foreign_files import PARSER_ERRORS, read_text
from conself_local.model_files.scan import is_file, scan

_LAYER = "application/vnd.ollama.image."
_IGNORED = {"adapter": "an adapter", "projector": "a projector for images"}
"""Name of a kind of layer that is ignored -> what it is."""
_MAX_MANIFEST_BYTES = 2**20


@dataclass(frozen=True)
class OllamaModel:
    """A model under one of its names."""

    name: str
    """NAME:TAG"""
    path: Path
    """The file with the model."""
    ignored: tuple[str, ...]
    """A sentence for each layer that is ignored."""


def ollama_models(folder: Path) -> Iterator[OllamaModel]:
    """Yield the models of Ollama's folder `models`; what is no manifest is passed over."""
    for manifest in scan(folder / "manifests", "*"):
        try:
            layers = json.loads(read_text(manifest, _MAX_MANIFEST_BYTES))["layers"]
            found = [(str(layer["mediaType"]), str(layer["digest"])) for layer in layers]
        except (OSError, *PARSER_ERRORS):
            continue  # other files may lie there too, and only a manifest can say which model it names
        name = f"{manifest.parent.name}:{manifest.name}"
        kinds = {media_type.removeprefix(_LAYER) for media_type, _ in found}
        ignored = tuple(
            f"Ollama adds {what} to it under the name {name}, which is ignored here"
            for kind, what in _IGNORED.items()
            if kind in kinds
        )
        for media_type, digest in found:
            path = folder / "blobs" / digest.replace(":", "-")
            if media_type == f"{_LAYER}model" and path.parent == folder / "blobs" and is_file(path):
                yield OllamaModel(name, path, ignored)


def ignored_layers(path: Path) -> list[str]:
    """Return a sentence for each layer that Ollama adds to the model file at `path`; none if it is not Ollama's."""
    real = Path(os.path.realpath(path))
    if real.parent.name != "blobs":
        return []
    return [
        sentence
        for model in ollama_models(real.parent.parent)
        if os.path.realpath(model.path) == str(real)
        for sentence in model.ignored
    ]
