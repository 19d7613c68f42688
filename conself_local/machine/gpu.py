"""Find graphics cards, their drivers and their free memory, and whether the installed llama.cpp can use them.

NVIDIA cards are found through the driver's tool `nvidia-smi`, AMD and Intel cards through the Linux kernel; Apple
Silicon shares its memory with the processor.
Not covered: how much of a model is placed on a card (`model_files/memory.py`), and what the installed packages were
built for (`builds.py`). No machine in CI has a card: the tests cover parsing and the arithmetic of the plan.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

Maker = Literal["NVIDIA", "AMD", "Intel", "Apple"]
_NVIDIA_SMI_TIMEOUT_S = 10
_DRM = Path("/sys/class/drm")
_AMD, _INTEL = "0x1002", "0x8086"
_SETTLE_SECONDS, _POLL_SECONDS = 10.0, 0.5

CHOICE = "CONSELF_TRAIN_ON"
"""Environment variable that keeps training on the processor if it is `cpu`."""


@dataclass(frozen=True)
class Gpu:
    """One graphics card."""

    name: str
    maker: Maker
    memory_bytes: int | None
    """Total memory of the card; None if it shares the computer's memory, or if it is not known."""
    free_bytes: int | None = None
    """Memory that no program uses; None if it is not known."""
    driver: str = ""
    """The driver and, if it tells, its version."""


@cache
def find_gpus() -> list[Gpu]:
    """Return the graphics cards of this computer; the result is cached for the process, with its free memory."""
    return read_gpus()


def read_gpus(drm: Path = _DRM) -> list[Gpu]:
    """Return the graphics cards as they are now: NVIDIA before AMD before Intel."""
    if platform.system() == "Darwin" and platform.machine() == "arm64":
        return [Gpu("Apple Silicon", "Apple", None, driver="Metal")]
    found = [card for folder in sorted(drm.glob("card[0-9]/device")) if (card := _of_kernel(folder))]
    return _nvidia() + sorted(found, key=lambda card: card.maker)


def _of_kernel(folder: Path) -> Gpu | None:
    """Return the AMD or Intel card of a folder of the kernel; None if it is another one."""
    vendor, total = _text(folder / "vendor"), _number(folder / "mem_info_vram_total")
    driver = (folder / "driver").resolve().name if (folder / "driver").exists() else ""
    if vendor == _AMD or total is not None:
        used = _number(folder / "mem_info_vram_used")
        free = None if total is None or used is None else total - used
        return Gpu(_text(folder / "product_name") or "an AMD card", "AMD", total, free, driver)
    return Gpu("an Intel card", "Intel", None, None, driver) if vendor == _INTEL else None


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def _number(path: Path) -> int | None:
    text = _text(path)
    return int(text) if text.isdigit() else None


def _nvidia() -> list[Gpu]:
    tool = shutil.which("nvidia-smi")
    if not tool:
        return []
    columns = "--query-gpu=name,driver_version,memory.total,memory.free"
    command = [tool, columns, "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_NVIDIA_SMI_TIMEOUT_S, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return parse_nvidia(done.stdout)


def parse_nvidia(output: str) -> list[Gpu]:
    """Parse the output of `nvidia-smi`: one card per line, as in `NVIDIA GeForce RTX 4070, 550.54, 12282, 11003`.

    Memory is in MiB. A line without two such numbers is ignored.
    """
    cards = []
    for line in output.splitlines():
        *_, driver, total, free = ["", "", "", *(part.strip() for part in line.rsplit(",", 3))]
        if total.isdigit() and free.isdigit():
            name = line.rsplit(",", 3)[0].strip()
            cards.append(Gpu(name, "NVIDIA", int(total) * 2**20, int(free) * 2**20, driver))
    return cards


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


def keeps_to_processor() -> bool:
    """Return whether the user chose that training stays on the processor."""
    return os.environ.get(CHOICE) == "cpu"


def free_card_bytes() -> int | None:
    """Return the memory of the first card that is free now; None without a card, or if it is not known."""
    gpus = read_gpus() if find_gpus() else []
    return gpus[0].free_bytes if gpus else None


def wait_until_released(
    free: Callable[[], int | None] = free_card_bytes, *, seconds: float = _SETTLE_SECONDS, poll: float = _POLL_SECONDS
) -> int | None:
    """Wait until the free memory of the card has not grown for two polls, and return it; None if it is not known.

    A driver gives the memory of a process that has ended back a moment later. At most `seconds` pass.
    """
    now, unchanged = free(), 0
    deadline = time.monotonic() + seconds
    while now is not None and unchanged < 2 and time.monotonic() < deadline:
        time.sleep(poll)
        later = free()
        if later is None:
            return None
        unchanged = unchanged + 1 if later <= now else 0
        now = later
    return now
