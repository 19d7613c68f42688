"""Open the device that is checked: a card through `torch.accelerator`, or the processor computing as a card does."""

from __future__ import annotations

import gc
import importlib.util
import platform
from typing import Any

import torch

from conself_local.training.torch_backend.devices import (
    CardMemory,
    ComputeDevice,
    ProcessorMemory,
    pick_device,
    pick_dtype,
)

GIB = 2**30
CONTEXT_BYTES = int(0.6 * GIB)
"""What driver and libraries take of a card outside of torch's allocator."""


def open_device(name: str, limit_bytes: int | None = None) -> ComputeDevice:
    """Return the card (`auto`) or the processor (`cpu`), computing as a card does."""
    device = torch.device("cpu") if name == "cpu" else pick_device()
    if device.type == "cpu":
        torch.set_num_threads(1)  # tiny shapes gain nothing from more, and wait for each other
        return ComputeDevice(device, torch.float32, ProcessorMemory(), as_card=True)
    return ComputeDevice(device, pick_dtype(device), CardMemory(device, limit_bytes), as_card=True)


def processor() -> ComputeDevice:
    """Return the processor in float32; it unpacks with ggml if llama-cpp-python is installed, as training there does."""
    return ComputeDevice(torch.device("cpu"), torch.float32, ProcessorMemory(), as_card=not has_ggml())


def has_ggml() -> bool:
    """Return whether llama-cpp-python is installed, whose library unpacks on the processor."""
    return importlib.util.find_spec("llama_cpp") is not None


def module(compute: ComputeDevice) -> Any:
    """Return torch's module of the device."""
    return torch.get_device_module(compute.device)


def release(compute: ComputeDevice) -> None:
    """Give the memory of what was deleted back, and lift a limit."""
    gc.collect()
    compute.memory.give_back()
    if compute.device.type != "cpu":
        module(compute).set_per_process_memory_fraction(1.0, compute.device)


def describe(compute: ComputeDevice) -> str:
    """Return a line with the device, its memory and the versions."""
    import peft
    import transformers

    build = torch.version.cuda or torch.version.hip or getattr(torch.version, "xpu", None) or "none"
    memory = ""
    if compute.device.type != "cpu":
        free, total = module(compute).mem_get_info(compute.device)
        memory = f", {free / GIB:.1f} of {total / GIB:.1f} GiB free"
    return (
        f"{compute.name} ({compute.device.type}{memory}, {str(compute.dtype).removeprefix('torch.')}); "
        f"torch {torch.__version__} (build for {build}), transformers {transformers.__version__}, peft "
        f"{peft.__version__}, Python {platform.python_version()}, {platform.system()}"
    )
