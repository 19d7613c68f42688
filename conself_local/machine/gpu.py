"""Graphics cards: what is there, whether this build of llama.cpp can use it, and how much of a model to put on it.

Found by asking the driver's own tool (NVIDIA) or the kernel (AMD); Apple Silicon shares its memory with the processor.
Not run in CI: no machine there has a card. The plan's arithmetic and the arguments passed on are tested.
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
_ASK_SECONDS = 10


@dataclass(frozen=True)
class Gpu:
    name: str
    kind: Kind
    memory_bytes: int | None
    """None where the card shares the machine's memory."""


@cache
def find_gpus(drm: Path = Path("/sys/class/drm")) -> list[Gpu]:
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
        told = subprocess.run(command, capture_output=True, text=True, timeout=_ASK_SECONDS, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    return parse_nvidia(told)


def parse_nvidia(told: str) -> list[Gpu]:
    """`NVIDIA GeForce RTX 4070, 12282` a line, memory in MiB."""
    cards = [line.rpartition(",") for line in told.splitlines()]
    return [Gpu(name.strip(), "CUDA", int(size) * 2**20) for name, _, size in cards if size.strip().isdigit()]


def build_uses_gpu() -> bool:
    """Whether the installed llama.cpp can offload. In a process of its own: loading it takes memory that would stay."""
    command = [sys.executable, "-c", "import llama_cpp; print(bool(llama_cpp.llama_supports_gpu_offload()))"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=60).stdout.strip() == "True"
    except (OSError, subprocess.SubprocessError):
        return False


@cache
def usable_gpu() -> Gpu | None:
    """The first graphics card, where there is one and this llama.cpp can use it."""
    gpus = find_gpus()
    return gpus[0] if gpus and build_uses_gpu() else None


def install_command(kind: Kind) -> str:
    flag = {"CUDA": "GGML_CUDA", "Vulkan": "GGML_VULKAN", "Metal": "GGML_METAL"}[kind]
    return f'CMAKE_ARGS="-D{flag}=on" pip install --force-reinstall --no-cache-dir llama-cpp-python'


def describe(gpus: Sequence[Gpu], usable: bool) -> str:
    """One line for `conself doctor`."""
    if not gpus:
        return "none found"
    names = ", ".join(f"{g.name} ({g.kind})" for g in gpus)
    return (
        names if usable else f"{names}, not used: this llama.cpp was built without it; {install_command(gpus[0].kind)}"
    )
