"""The versions of the packages that a result depends on."""

from __future__ import annotations

import importlib.metadata

_VERSIONED = ("conself-local", "llama-cpp-python", "torch", "transformers", "peft", "numpy", "gguf", "sqlite-utils")


def package_versions() -> dict[str, str]:
    """Of what a result depends on; read from the packages' metadata, nothing is imported."""
    versions = {}
    for name in _VERSIONED:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions
