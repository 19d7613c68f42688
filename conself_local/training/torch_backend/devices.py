"""Choose the device that trains, and measure its memory by one interface for processors and graphics cards.

A card is whatever `torch.accelerator` names: CUDA, ROCm (which torch presents as CUDA) and XPU take the same path, and
nothing here asks for one of them. Apple's MPS is left to MLX. Covered: memory that the driver, this process and its
limit leave. Not covered: several cards; the first is used.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch

from conself_local.machine.gpu import keeps_to_processor
from conself_local.machine.process_memory import give_back_freed, peak_bytes, reset_peak, resident_bytes
from conself_local.machine.processor import processor_has_bf16
from conself_local.machine.resources import available_memory_bytes


class DeviceMemory(Protocol):
    """The memory of the device that trains, in bytes."""

    @property
    def is_exact(self) -> bool:
        """Whether every allocation is counted, and one that does not fit raises `torch.OutOfMemoryError`."""

    def free_bytes(self) -> int | None:
        """Return what this process could still allocate; None if it is not known."""

    def used_bytes(self) -> int:
        """Return what this process uses now."""

    def peak_bytes(self) -> int:
        """Return the most that this process used since `reset_peak`."""

    def reset_peak(self) -> None:
        """Start a new peak."""

    def give_back(self) -> None:
        """Return memory that is not in use to the system or the driver."""


class ProcessorMemory:
    """The main memory: resident pages are counted, which include freed blocks that the heap keeps."""

    is_exact = False

    def free_bytes(self) -> int | None:
        """Return the memory that the system could still give."""
        return available_memory_bytes()

    def used_bytes(self) -> int:
        """Return the resident memory of this process."""
        return resident_bytes()

    def peak_bytes(self) -> int:
        """Return the peak of the resident memory."""
        return peak_bytes()

    def reset_peak(self) -> None:
        """Start a new peak (Linux only)."""
        reset_peak()

    def give_back(self) -> None:
        """Return freed pages to the system."""
        give_back_freed()


class CardMemory:
    """The memory of a graphics card, as torch's allocator counts it."""

    is_exact = True

    def __init__(self, device: torch.device, limit_bytes: int | None = None) -> None:
        """`limit_bytes`: hold this process to so many bytes, as on a smaller card."""
        self._device, self._limit = device, limit_bytes
        self._module: Any = torch.get_device_module(device)
        if limit_bytes is not None:
            total = self._module.mem_get_info(device)[1]
            self._module.set_per_process_memory_fraction(min(1.0, limit_bytes / total), device)

    def free_bytes(self) -> int | None:
        """Return what the driver has free, and what the allocator holds without using it, within the limit."""
        used = self.used_bytes()
        free = int(self._module.mem_get_info(self._device)[0] + self._module.memory_reserved(self._device) - used)
        return free if self._limit is None else max(0, min(free, self._limit - used))

    def used_bytes(self) -> int:
        """Return the bytes in tensors."""
        return int(self._module.memory_allocated(self._device))

    def peak_bytes(self) -> int:
        """Return the most bytes in tensors since `reset_peak`."""
        return int(self._module.max_memory_allocated(self._device))

    def reset_peak(self) -> None:
        """Start a new peak."""
        self._module.reset_peak_memory_stats(self._device)

    def give_back(self) -> None:
        """Return the allocator's unused blocks, so that blocks of other sizes fit."""
        self._module.empty_cache()


@dataclass(frozen=True)
class ComputeDevice:
    """Where and how a run computes."""

    device: torch.device
    dtype: torch.dtype
    memory: DeviceMemory
    as_card: bool
    """Whether to compute as on a card (`model.load_base`); a test does so on the processor."""

    @property
    def name(self) -> str:
        """The card's name, or `the processor`."""
        if self.device.type == "cpu":
            return "the processor"
        return str(torch.get_device_module(self.device).get_device_name(self.device))


def pick_device() -> torch.device:
    """Return the first graphics card that torch can use, unless the user chose the processor, else the processor."""
    if keeps_to_processor() or not torch.accelerator.is_available():
        return torch.device("cpu")
    card = torch.accelerator.current_accelerator()
    return torch.device("cpu") if card is None or card.type == "mps" else torch.device(card.type, 0)


def pick_dtype(device: torch.device) -> torch.dtype:
    """Return bfloat16 if the device computes it in hardware, else float32."""
    if device.type == "cpu":
        native = processor_has_bf16()
    else:
        native = torch.get_device_module(device).is_bf16_supported(including_emulation=False)
    return torch.bfloat16 if native else torch.float32


def pick_compute_device() -> ComputeDevice:
    """Return the device that trains, its precision and its memory."""
    device = pick_device()
    is_card = device.type != "cpu"
    return ComputeDevice(device, pick_dtype(device), CardMemory(device) if is_card else ProcessorMemory(), is_card)
