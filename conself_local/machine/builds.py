"""Say what the installed llama-cpp-python and torch were built for, and how to change it, in words for a person.

Both are only looked at: nothing is imported, because that takes seconds and much memory. The commands are those of the
projects' own documents; none was ever run on a computer with a card. Not covered: whether a driver works
(`torch.accelerator` and llama.cpp find that out when they start).
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from conself_local.machine.gpu import CHOICE, Gpu, Maker, keeps_to_processor
from conself_local.machine.room import gib

_LLAMA_BACKENDS: Mapping[str, str] = {
    "cuda": "CUDA", "hip": "ROCm", "vulkan": "Vulkan", "sycl": "SYCL", "metal": "Metal"
}  # fmt: skip
"""Part of the name of ggml's library -> the backend."""
_LLAMA_NEEDS: Mapping[Maker, tuple[tuple[str, ...], str]] = {
    "NVIDIA": (("CUDA", "Vulkan"), "GGML_CUDA"),
    "AMD": (("ROCm", "Vulkan"), "GGML_VULKAN"),
    "Intel": (("SYCL", "Vulkan"), "GGML_VULKAN"),
    "Apple": (("Metal",), "GGML_METAL"),
}
"""Maker -> the backends that can use its cards, and the build option of the one that is easiest to build."""
_TORCH_NEEDS: Mapping[Maker, tuple[str, str]] = {
    "NVIDIA": ("CUDA", "pip install --force-reinstall torch"),
    "AMD": ("ROCm", "pip install --force-reinstall torch --index-url https://download.pytorch.org/whl/rocm7.2"),
    "Intel": ("XPU", "pip install --force-reinstall torch --index-url https://download.pytorch.org/whl/xpu"),
}
"""Maker -> the build of torch that can use its cards, and the command that installs it on Linux."""
_TORCH_FIELD = re.compile(r"^(cuda|hip|xpu)\b[^=\n]*= *'([^']+)'", re.MULTILINE)
_TORCH_NAMES: Mapping[str, str] = {"cuda": "CUDA", "hip": "ROCm", "xpu": "XPU"}


def llama_backends(folder: Path | None = None) -> tuple[str, ...]:
    """Return the backends for cards that llama-cpp-python was built with, by the libraries in its folder."""
    folder = folder or _package_folder("llama_cpp") / "lib"
    names = [path.name for path in folder.glob("*ggml-*")]
    return tuple(name for part, name in _LLAMA_BACKENDS.items() if any(f"ggml-{part}." in file for file in names))


def torch_build(version_file: Path | None = None) -> str:
    """Return what torch was built for, as in `CUDA 12.8` or `ROCm 7.2`; an empty text for processors only."""
    version_file = version_file or _package_folder("torch") / "version.py"
    try:
        found = dict(_TORCH_FIELD.findall(version_file.read_text(encoding="utf-8")))
    except OSError:
        return ""
    return next((f"{name} {found[key]}" for key, name in _TORCH_NAMES.items() if key in found), "")


def trains_on_card(gpus: Sequence[Gpu], build: str) -> bool:
    """Return whether training uses the first card: if the build of torch is one for it, and the user did not refuse."""
    if keeps_to_processor():
        return False
    return bool(gpus) and gpus[0].maker in _TORCH_NEEDS and build.startswith(_TORCH_NEEDS[gpus[0].maker][0])


def describe_gpus(gpus: Sequence[Gpu]) -> str:
    """Return one line that names the cards, their drivers and their memory."""
    return "; ".join(_describe(gpu) for gpu in gpus) or "none found"


def _describe(gpu: Gpu) -> str:
    memory = "memory not known"
    if gpu.maker == "Apple":
        memory = "it shares the computer's memory"
    elif gpu.memory_bytes is not None:
        memory = f"{gib(gpu.memory_bytes)} of memory"
        if gpu.free_bytes is not None:
            memory = f"{gib(gpu.free_bytes)} of {memory} free"
    return f"{gpu.name}, driver {gpu.driver or 'not known'}, {memory}"


def describe_sampling(gpus: Sequence[Gpu], backends: Sequence[str]) -> str:
    """Return what llama-cpp-python is, what samples, and the command that changes it."""
    installed = f"llama-cpp-python {_version('llama-cpp-python')}, built for {' and '.join(backends) or 'processors'}"
    if not gpus:
        return f"{installed}: samples on the processor"
    needed, option = _LLAMA_NEEDS[gpus[0].maker]
    if set(needed) & set(backends):
        return f"{installed}: samples on the card"
    command = f'CMAKE_ARGS="-D{option}=on" pip install --force-reinstall --no-cache-dir llama-cpp-python'
    return f"{installed}: samples on the processor; to use the card: {command}"


def describe_training(gpus: Sequence[Gpu], build: str) -> str:
    """Return what torch is, what trains, and the command that changes it."""
    if gpus and gpus[0].maker == "Apple":
        return f"mlx {_version('mlx')}: trains on the card"
    installed = f"torch {_version('torch')}, built for {build or 'processors'}"
    if not gpus:
        return f"{installed}: trains on the processor"
    if keeps_to_processor():
        return f"{installed}: trains on the processor, because {CHOICE} is cpu"
    if trains_on_card(gpus, build):
        return f"{installed}: trains on the card"
    return f"{installed}: trains on the processor; to use the card: {_TORCH_NEEDS[gpus[0].maker][1]}"


def _package_folder(name: str) -> Path:
    found = importlib.util.find_spec(name)
    return Path(found.origin).parent if found and found.origin else Path("not installed")


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "(not installed)"
