"""The device that trains is the first card that torch can use, and its memory is counted within a limit.

A card is simulated by what torch's module of a device would answer; none is used.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from conself_local.errors import ConselfError
from conself_local.model_files.bundled import bundled_model
from conself_local.model_files.model_file import load_model_file
from conself_local.training.job import TokenPair, TrainingJob
from conself_local.training.torch_backend.backend import TorchBackend
from conself_local.training.torch_backend.devices import CardMemory, ComputeDevice, pick_device, pick_dtype

pytestmark = pytest.mark.model

GIB = 2**30


class _Module:
    """What `torch.cuda` or `torch.xpu` answers for a card of 24 GiB, of which other programs use 4."""

    def __init__(self) -> None:
        self.allocated, self.reserved, self.fraction = 5 * GIB, 6 * GIB, 1.0
        self.emptied = 0

    def mem_get_info(self, device: torch.device) -> tuple[int, int]:
        return 20 * GIB - self.reserved, 24 * GIB

    def memory_allocated(self, device: torch.device) -> int:
        return self.allocated

    def max_memory_allocated(self, device: torch.device) -> int:
        return self.allocated + GIB

    def memory_reserved(self, device: torch.device) -> int:
        return self.reserved

    def reset_peak_memory_stats(self, device: torch.device) -> None:
        return None

    def set_per_process_memory_fraction(self, fraction: float, device: torch.device) -> None:
        self.fraction = fraction

    def empty_cache(self) -> None:
        self.emptied += 1

    def is_bf16_supported(self, including_emulation: bool) -> bool:
        return including_emulation

    def get_device_name(self, device: torch.device) -> str:
        return "a card"


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> _Module:
    module = _Module()
    monkeypatch.setattr(torch, "get_device_module", lambda device: module)
    return module


def test_free_memory_is_that_of_the_driver_and_the_allocator_within_the_limit(module: _Module) -> None:
    device = torch.device("cuda", 0)
    memory = CardMemory(device)
    assert (memory.free_bytes(), memory.used_bytes(), memory.peak_bytes()) == (15 * GIB, 5 * GIB, 6 * GIB)
    limited = CardMemory(device, 8 * GIB)
    assert limited.free_bytes() == 3 * GIB and module.fraction == pytest.approx(1 / 3)
    module.allocated = 9 * GIB
    assert limited.free_bytes() == 0
    limited.give_back()
    assert module.emptied == 1


def test_emulated_bfloat16_is_not_used(module: _Module) -> None:
    """Cards before 2020 compute bfloat16 in several steps, slower than float32."""
    assert pick_dtype(torch.device("cuda", 0)) == torch.float32


@pytest.mark.parametrize("found, kind", [("cuda", "cuda"), ("xpu", "xpu"), ("mps", "cpu"), (None, "cpu")])
def test_the_first_card_that_torch_can_use_trains(
    found: str | None, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Apple's cards are left to MLX."""
    accelerator = SimpleNamespace(
        is_available=lambda: found is not None, current_accelerator=lambda: torch.device(str(found))
    )
    monkeypatch.setattr(torch, "accelerator", accelerator)
    assert pick_device().type == kind
    monkeypatch.setenv("CONSELF_TRAIN_ON", "cpu")
    assert pick_device().type == "cpu"


def test_weights_that_are_larger_than_the_card_are_refused_before_they_are_loaded(
    module: _Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_model_file(bundled_model())
    device = torch.device("cuda", 0)
    compute = ComputeDevice(device, torch.float32, CardMemory(device, 5 * GIB + model.size_bytes // 2), as_card=True)

    def load(*arguments: Any, **others: Any) -> None:
        raise AssertionError("nothing is loaded")

    monkeypatch.setattr("conself_local.training.torch_backend.backend.load_base", load)
    pair = TokenPair((1,), (2,), (3,), 1.0)
    job = TrainingJob(str(model.path), "llama", None, (pair,), 0, 0.1, 4, 8, 1e-3, 1, 1, 0.1, 1.0, 0.1, None, threads=1)
    with pytest.raises(ConselfError, match="are free on a card") as refusal:
        TorchBackend(job, compute=compute)
    assert "smaller model" in refusal.value.hint and "CONSELF_TRAIN_ON=cpu" in refusal.value.hint
