"""Say whether MLX and mlx-lm are installed in versions whose private parts this program knows; nothing is imported.

MLX computes on the GPU of a Mac with Apple Silicon, and on the processor under Linux. Not covered: whether the GPU
works, which shows when MLX starts.
"""

from __future__ import annotations

import importlib.metadata
import platform
import re
import sys

from conself_local.errors import ConselfError

MLX_LM_FIRST, MLX_LM_BEFORE = (0, 32), (0, 33)
"""mlx-lm from this version on, and before this one: `BatchGenerator` and `load_adapters` change between versions."""
INSTALL_MLX = (
    "pip install 'mlx-lm>=0.32,<0.33'" if sys.platform == "darwin" else "pip install 'mlx[cpu]' 'mlx-lm>=0.32,<0.33'"
)
"""The command that installs it here."""


def computes_on_metal() -> bool:
    """Return whether MLX would compute on a GPU here, so that the cores are free."""
    return sys.platform == "darwin" and platform.machine() == "arm64"


def mlx_fault() -> str:
    """Return why MLX cannot be used here, or an empty text if it can."""
    try:
        importlib.metadata.version("mlx")
        found = importlib.metadata.version("mlx-lm")
    except importlib.metadata.PackageNotFoundError as error:
        return f"{error.name} is not installed, which a folder of MLX weights needs"
    numbers = re.match(r"(\d+)\.(\d+)", found)
    version = (int(numbers[1]), int(numbers[2])) if numbers else (0, 0)
    if MLX_LM_FIRST <= version < MLX_LM_BEFORE:
        return ""
    return f"mlx-lm {found} is installed, and its interfaces are known only from 0.32 on and before 0.33"


def verify_mlx() -> None:
    """Raise ConselfError, with the command that helps, if MLX cannot be used here."""
    if fault := mlx_fault():
        raise ConselfError(fault, f"install it with: {INSTALL_MLX}")


def describe_mlx() -> str:
    """Return one line for the user: the version that is installed, or what is wrong and how to mend it."""
    fault = mlx_fault()
    return f"{fault} ({INSTALL_MLX})" if fault else f"mlx-lm {importlib.metadata.version('mlx-lm')}"
