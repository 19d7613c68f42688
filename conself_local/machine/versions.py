"""Read the versions of the packages that a result depends on.

Source: the metadata of the installed packages. Not covered: Python, the operating system and the graphics driver.
"""

from __future__ import annotations

import importlib.metadata

_VERSIONED = (
    "conself-local",
    "llama-cpp-python",
    "mlx",
    "mlx-lm",
    "openvino-genai",
    "torch",
    "transformers",
    "peft",
    "numpy",
    "gguf",
    "sqlite-utils",
)


def package_versions() -> dict[str, str]:
    """Return package name -> version for the packages that are installed, without importing any of them."""
    versions = {}
    for name in _VERSIONED:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions
