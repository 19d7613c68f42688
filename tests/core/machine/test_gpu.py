"""The plan for a graphics card, its arithmetic and its arguments, are right; no card is needed, and none is used."""

from __future__ import annotations

from pathlib import Path

import pytest

from conself_local.machine.gpu import Gpu, describe, find_gpus, install_command, parse_nvidia
from conself_local.model_files.bundled import bundled_model
from conself_local.model_files.memory import ALL_LAYERS, layers_that_fit
from conself_local.model_files.model_file import load_model_file
from conself_local.sampling.engine_process import LlamaProcess

GIB = 2**30


def test_the_output_of_nvidia_smi_is_read() -> None:
    told = "NVIDIA GeForce RTX 4070, 12282\nNVIDIA RTX A2000 8GB, Laptop, 8192\nNo devices were found\n"
    assert parse_nvidia(told) == [
        Gpu("NVIDIA GeForce RTX 4070", "CUDA", 12282 * 2**20),
        Gpu("NVIDIA RTX A2000 8GB, Laptop", "CUDA", 8 * GIB),
    ]


def test_an_amd_card_is_found_in_the_files_of_the_kernel(tmp_path: Path) -> None:
    file = tmp_path / "card1" / "device" / "mem_info_vram_total"
    file.parent.mkdir(parents=True)
    file.write_text(f"{16 * GIB}\n")
    assert Gpu("an AMD card", "Vulkan", 16 * GIB) in find_gpus(tmp_path)


@pytest.mark.parametrize(
    "card_gib, weights_gib, kv_gib, layers",
    [
        (12, 4, 1, ALL_LAYERS),
        (8, 5, 1, ALL_LAYERS),
        (8, 5, 1.1, 30),
        (8, 11, 1, 15),
        (8, 29, 2, 6),
        (None, 40, 9, ALL_LAYERS),
    ],
)
def test_layers_on_the_card_leave_a_quarter_of_its_memory(
    card_gib: float | None, weights_gib: float, kv_gib: float, layers: int
) -> None:
    model = load_model_file(bundled_model())
    assert model.block_count == 30
    gpu = Gpu("a card", "CUDA", None if card_gib is None else int(card_gib * GIB))
    assert layers_that_fit(model, int(weights_gib * GIB), int(kv_gib * GIB), gpu) == layers


def test_a_card_that_the_build_cannot_use_is_reported_with_the_next_step() -> None:
    gpu = Gpu("NVIDIA GeForce RTX 4070", "CUDA", 12 * GIB)
    told = describe([gpu], usable=False)
    assert "RTX 4070" in told and "not used" in told and install_command("CUDA") in told and "GGML_CUDA=on" in told
    assert "not used" not in describe([gpu], usable=True) and describe([], usable=False) == "none found"


def test_the_number_of_layers_reaches_the_engine() -> None:
    """A build that cannot offload accepts the argument and runs on the processor."""
    model = load_model_file(bundled_model())
    with LlamaProcess(model, slots=1, context_tokens=256, threads=1, gpu_layers=7) as engine:
        assert engine._command[-2:] == ["--gpu-layers", "7"]
        assert engine.tokenize("x")
