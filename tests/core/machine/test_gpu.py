"""What is said of a graphics card, and the plan for one, are right; no card is needed, and none is used."""

from __future__ import annotations

from pathlib import Path

import pytest

from conself_local.machine import summary
from conself_local.machine.builds import (
    describe_gpus,
    describe_sampling,
    describe_training,
    llama_backends,
    torch_build,
    trains_on_card,
)
from conself_local.machine.gpu import Gpu, Maker, parse_nvidia, read_gpus, wait_until_released
from conself_local.model_files.bundled import bundled_model
from conself_local.model_files.memory import ALL_LAYERS, layers_that_fit, plan_card
from conself_local.model_files.model_file import load_model_file
from conself_local.sampling.engine_process import LlamaProcess

GIB = 2**30
RTX = Gpu("NVIDIA GeForce RTX 4070", "NVIDIA", 12 * GIB, 11 * GIB, "550.54")


def test_the_output_of_nvidia_smi_is_read() -> None:
    told = (
        "NVIDIA GeForce RTX 4070, 550.54, 12282, 11003\nNVIDIA RTX A2000 8GB, Laptop, 550.54, 8192, 8000\n"
        "No devices were found\nNVIDIA old, [N/A], [N/A], [N/A]\n"
    )
    assert parse_nvidia(told) == [
        Gpu("NVIDIA GeForce RTX 4070", "NVIDIA", 12282 * 2**20, 11003 * 2**20, "550.54"),
        Gpu("NVIDIA RTX A2000 8GB, Laptop", "NVIDIA", 8 * GIB, 8000 * 2**20, "550.54"),
    ]


def _card(drm: Path, number: int, **files: str) -> None:
    folder = drm / f"card{number}" / "device"
    folder.mkdir(parents=True)
    for name, text in files.items():
        (folder / name).write_text(f"{text}\n")


def test_amd_and_intel_cards_are_found_in_the_files_of_the_kernel(tmp_path: Path) -> None:
    _card(tmp_path, 0, vendor="0x8086")
    _card(tmp_path, 1, vendor="0x1002", mem_info_vram_total=str(16 * GIB), mem_info_vram_used=str(2 * GIB))
    _card(tmp_path, 2, vendor="0x1234")
    (tmp_path / "drivers" / "xe").mkdir(parents=True)
    (tmp_path / "card0" / "device" / "driver").symlink_to(tmp_path / "drivers" / "xe")
    found = [gpu for gpu in read_gpus(tmp_path) if gpu.maker != "NVIDIA"]
    assert found == [
        Gpu("an AMD card", "AMD", 16 * GIB, 14 * GIB),
        Gpu("an Intel card", "Intel", None, None, "xe"),
    ]


@pytest.mark.parametrize(
    "card_gib, free_gib, weights_gib, kv_gib, layers",
    [
        (12, None, 4, 1, ALL_LAYERS),
        (8, None, 5, 1, ALL_LAYERS),
        (8, None, 5, 1.1, 30),
        (8, None, 11, 1, 15),
        (8, None, 29, 2, 6),
        (None, None, 40, 9, ALL_LAYERS),
        (8, 7.6, 6, 1, ALL_LAYERS),
        (8, 3.586, 5, 1, 15),
        (8, 0.1, 5, 1, 0),
    ],
)
def test_layers_on_the_card_fit_what_is_free_there(
    card_gib: float | None, free_gib: float | None, weights_gib: float, kv_gib: float, layers: int
) -> None:
    """A quarter of the memory is left if nobody tells how much is free, else what the engine itself takes beside."""
    model = load_model_file(bundled_model())
    assert model.block_count == 30
    total, free = (None if size is None else int(size * GIB) for size in (card_gib, free_gib))
    gpu = Gpu("a card", "NVIDIA", total, free)
    assert layers_that_fit(model, int(weights_gib * GIB), int(kv_gib * GIB), gpu) == layers


def test_slots_get_the_room_that_the_weights_leave() -> None:
    """With little room there are fewer tokens for slots, never fewer layers for more slots, nor a slot cut short."""
    model = load_model_file(bundled_model())
    token = model.kv_bytes_per_token
    weights, reserve = GIB, 600 * 2**20

    def plan(room: int) -> tuple[int, int]:
        found = plan_card(model, weights, 64, 512, Gpu("a card", "NVIDIA", 24 * GIB, reserve + room))
        return found.layers, found.context_tokens

    plenty = plan(20 * GIB)
    assert plenty == (ALL_LAYERS, 64 * 512)
    assert plan(weights + 4000 * token) == (ALL_LAYERS, 4000)
    assert plan(weights + 512 * token) == (ALL_LAYERS, 512)
    layers, tokens = plan(weights // 2)
    assert 0 < layers < 30 and tokens == plenty[1]
    assert plan_card(model, weights, 64, 512, Gpu("a card", "NVIDIA", 24 * GIB, 20 * GIB)).host_share == 0
    assert plan_card(model, weights, 64, 512, Gpu("a card", "NVIDIA", 24 * GIB, 0)).host_share == 1


def test_a_card_is_described_with_driver_and_free_memory() -> None:
    assert describe_gpus([RTX]) == "NVIDIA GeForce RTX 4070, driver 550.54, 11.0 GiB of 12.0 GiB of memory free"
    assert describe_gpus([]) == "none found"
    assert "shares the computer's memory" in describe_gpus([Gpu("Apple Silicon", "Apple", None, None, "Metal")])


@pytest.mark.parametrize(
    "maker, backends, build, samples, trains",
    [
        ("NVIDIA", (), "", "-DGGML_CUDA=on", "install --force-reinstall torch"),
        ("NVIDIA", ("CUDA",), "CUDA 12.8", "", ""),
        ("NVIDIA", ("Vulkan",), "ROCm 7.2", "", "install --force-reinstall torch"),
        ("AMD", ("CUDA",), "CUDA 12.8", "-DGGML_VULKAN=on", "/whl/rocm"),
        ("AMD", ("ROCm",), "ROCm 7.2", "", ""),
        ("Intel", (), "", "-DGGML_VULKAN=on", "/whl/xpu"),
        ("Intel", ("SYCL",), "XPU 20250301", "", ""),
    ],
)
def test_builds_are_described_with_the_one_command_that_changes_them(
    maker: Maker, backends: tuple[str, ...], build: str, samples: str, trains: str
) -> None:
    cards = [Gpu("a card", maker, 8 * GIB)]
    assert trains_on_card(cards, build) == (not trains)
    for told, command in ((describe_sampling(cards, backends), samples), (describe_training(cards, build), trains)):
        assert command in told and ("on the card" in told) == (not command)
        assert ("to use the card: " in told) == bool(command)
    without = (describe_sampling([], backends), describe_training([], build))
    assert all("on the processor" in told and "to use" not in told for told in without)


def test_the_start_screen_names_the_card_and_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(summary, "read_gpus", lambda: [RTX])
    monkeypatch.setattr(summary, "llama_backends", lambda: ())
    monkeypatch.setattr(summary, "torch_build", lambda: "CUDA 12.8")
    card, samples, trains = summary._describe_card()
    assert "RTX 4070" in card and "-DGGML_CUDA=on" in samples and "trains on the card" in trains
    monkeypatch.setattr(summary, "read_gpus", lambda: [])
    assert summary._describe_card() == []


def test_the_user_may_keep_training_on_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    assert trains_on_card([RTX], "CUDA 12.8")
    monkeypatch.setenv("CONSELF_TRAIN_ON", "cpu")
    assert not trains_on_card([RTX], "CUDA 12.8")
    assert "because CONSELF_TRAIN_ON is cpu" in describe_training([RTX], "CUDA 12.8")


def test_builds_are_told_by_the_files_of_the_packages(tmp_path: Path) -> None:
    for name in ("libggml-base.so", "libggml-cuda.so", "ggml-vulkan.dll", "libggml-cpu.so.0"):
        (tmp_path / name).touch()
    assert llama_backends(tmp_path) == ("CUDA", "Vulkan") and llama_backends(tmp_path / "none") == ()
    file = tmp_path / "version.py"
    for text, told in (
        ("cuda: Optional[str] = None\nhip: Optional[str] = None\n", ""),
        ("__version__ = '2.13.0'\ncuda: Optional[str] = '12.8'\nhip: Optional[str] = None\n", "CUDA 12.8"),
        ("cuda: Optional[str] = None\nhip: Optional[str] = '7.2.1'\n", "ROCm 7.2.1"),
        ("cuda = None\nxpu: Optional[str] = '20250301'\n", "XPU 20250301"),
    ):
        file.write_text(text)
        assert torch_build(file) == told
    assert torch_build(tmp_path / "none") == ""


@pytest.mark.parametrize(
    "readings, found",
    [([1, 1, 5, 8, 8, 8], 8), ([4, 4, 4], 4), ([None], None), ([3, None], None), ([5, 4, 6, 6, 6], 6)],
)
def test_the_trainer_waits_until_the_engine_s_memory_is_back(readings: list[int | None], found: int | None) -> None:
    """A driver releases the memory of an ended process a moment later; a trainer that starts before plans too small."""
    left = iter(readings)
    assert wait_until_released(lambda: next(left), seconds=60, poll=0) == found
    assert list(left) == []


def test_the_number_of_layers_reaches_the_engine() -> None:
    """A build that cannot offload accepts the argument and runs on the processor."""
    model = load_model_file(bundled_model())
    with LlamaProcess(model, slots=1, context_tokens=256, threads=1, gpu_layers=7) as engine:
        assert engine._command[-2:] == ["--gpu-layers", "7"]
        assert engine.tokenize("x")
