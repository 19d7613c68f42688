"""Find graphics cards, and whether the installed build of llama.cpp can use them.

NVIDIA cards are found through the driver's tool `nvidia-smi`, AMD cards through the Linux kernel; Apple Silicon shares
its memory with the processor.
Not covered: how many layers of a model are placed on a card (`model_files/memory.py`), and other makes of card.
No machine in CI has a card: the tests cover parsing, the arithmetic of the plan, and the arguments of the engine.
"""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

Kind = Literal["CUDA", "Vulkan", "Metal"]
"""The backend of llama.cpp that a card needs."""
_NVIDIA_SMI_TIMEOUT_S = 10


@dataclass(frozen=True)
class Gpu:
    """One graphics card."""

    name: str
    kind: Kind
    memory_bytes: int | None
    """Total memory of the card; None if it shares the computer's memory."""


@cache
def find_gpus(drm: Path = Path("/sys/class/drm")) -> list[Gpu]:
    """Return the graphics cards of this computer, NVIDIA before AMD; the result is cached for the process."""
    if platform.system() == "Darwin" and platform.machine() == "arm64":
        return [Gpu("Apple Silicon", "Metal", None)]
    amd = [
        Gpu("an AMD card", "Vulkan", int(file.read_text()))
        for file in sorted(drm.glob("card[0-9]/device/mem_info_vram_total"))
    ]
    return _nvidia() + amd


def _nvidia() -> list[Gpu]:
    tool = shutil.which("nvidia-smi")
    if not tool:
        return []
    command = [tool, "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_NVIDIA_SMI_TIMEOUT_S, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return parse_nvidia(done.stdout)


def parse_nvidia(output: str) -> list[Gpu]:
    """Parse the output of `nvidia-smi`: one card per line, as in `NVIDIA GeForce RTX 4070, 12282`, memory in MiB.

    A line without a number of MiB is ignored.
    """
    cards = [line.rpartition(",") for line in output.splitlines()]
    return [Gpu(name.strip(), "CUDA", int(size) * 2**20) for name, _, size in cards if size.strip().isdigit()]


def build_uses_gpu() -> bool:
    """Return whether the installed llama.cpp can offload layers to a graphics card; False if it cannot be loaded.

    The check runs in a separate process (at most 60 s), because loading llama.cpp takes memory that is not freed.
    """
    command = [sys.executable, "-c", "import llama_cpp; print(bool(llama_cpp.llama_supports_gpu_offload()))"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=60).stdout.strip() == "True"
    except (OSError, subprocess.SubprocessError):
        return False


@cache
def usable_gpu() -> Gpu | None:
    """Return the first graphics card, or None if there is none or the installed llama.cpp cannot use it; cached."""
    gpus = find_gpus()
    return gpus[0] if gpus and build_uses_gpu() else None


def install_command(kind: Kind) -> str:
    """Return the shell command that rebuilds llama-cpp-python with support for this kind of card."""
    flag = {"CUDA": "GGML_CUDA", "Vulkan": "GGML_VULKAN", "Metal": "GGML_METAL"}[kind]
    return f'CMAKE_ARGS="-D{flag}=on" pip install --force-reinstall --no-cache-dir llama-cpp-python'


def describe(gpus: Sequence[Gpu], usable: bool) -> str:
    """Return one line that names the cards and, if they are not usable, the command that makes them so."""
    if not gpus:
        return "none found"
    names = ", ".join(f"{g.name} ({g.kind})" for g in gpus)
    return (
        names
        if usable
        else f"{names}, not used: this build of llama.cpp has no support for graphics cards; "
        f"rebuild it with {install_command(gpus[0].kind)}"
    )
