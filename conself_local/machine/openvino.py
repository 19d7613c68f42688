"""Find OpenVINO GenAI, the optional second engine, without importing it.

`sampling/openvino_runtime.py` is the only module that imports it, in a process of its own. Not covered: which models it
reads rightly (`model_files/openvino_models.py`).
"""

from __future__ import annotations

import re

from conself_local.errors import ConselfError

PACKAGE = "openvino-genai"
SUPPORTED = ">=2026.4,<2026.5"
"""The versions whose reader was compared with llama.cpp on tiny files; `pyproject.toml` asks for the same range."""
_SUPPORTED_RELEASES = ((2026, 4),)
INSTALL = "pip install 'conself-local[openvino]'"


def openvino_version() -> str | None:
    """Return the version of OpenVINO GenAI that is installed and supported, or None."""
    version = _installed()
    return version if version is not None and _release(version) in _SUPPORTED_RELEASES else None


def verify_openvino() -> None:
    """Raise ConselfError if OpenVINO GenAI is not installed, or in a version that is not supported."""
    version = _installed()
    if version is None:
        raise ConselfError("the engine openvino is not installed", f"install it with: {INSTALL}")
    if _release(version) not in _SUPPORTED_RELEASES:
        raise ConselfError(
            f"{PACKAGE} {version} was not compared with llama.cpp, so it is not used",
            f"install a version {SUPPORTED}: {INSTALL}",
        )


def describe_openvino() -> str:
    """Return one line for the user: the version that is installed, or how to get it."""
    version = _installed()
    if version is None:
        return f"not installed ({INSTALL})"
    return version if openvino_version() else f"{version}, not supported: needs {SUPPORTED}"


def _installed() -> str | None:
    import importlib.metadata  # imported here, so that --help stays quick

    try:
        return importlib.metadata.version(PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        return None


def _release(version: str) -> tuple[int, ...]:
    """Return the first two numbers of a version: (2026, 4) for 2026.4.1.0."""
    return tuple(int(number) for number in re.findall(r"\d+", version)[:2])
