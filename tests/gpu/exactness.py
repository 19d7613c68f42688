"""Check that a device computes what the processor computes: unpacked values, loss and gradients."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from conself_local.model_files.model_file import load_model_file
from conself_local.training.packing import Group, pack
from conself_local.training.torch_backend.blocks import unpack_blocks
from conself_local.training.torch_backend.devices import ComputeDevice
from conself_local.training.torch_backend.loss import con_dpo_pair_loss
from conself_local.training.torch_backend.model import add_lora, load_base, sum_completion_logps, token_logps
from tests.gpu.device import has_ggml, module, processor, release
from tests.gpu.fixture import TYPES, read_fixture
from tests.gpu.report import Report
from tests.gpu.shapes import SHAPES, write_model

_SPEED_VALUES = {"cpu": 2**18}
"""Type of device -> how many values are unpacked to measure the speed; 2**24 on cards."""
_MOST_RELATIVE = {torch.float32: 1e-3, torch.bfloat16: 0.1}
"""Precision -> the largest relative difference of a gradient that passes; the processor itself has 0.05 in bfloat16."""


def check_unpacking(report: Report, compute: ComputeDevice) -> None:
    """(a) Every type is unpacked on the device to the bits of ggml."""
    wrong = []
    fixture = read_fixture()
    for name, (blocks, values) in fixture.items():
        found = unpack_blocks(TYPES[name], torch.from_numpy(blocks).to(compute.device)).cpu().numpy()
        if not np.array_equal(found.view(np.uint32), values.view(np.uint32)):
            wrong.append(f"{name} by {np.abs(found - values).max():.1e}")
    measured = f"{len(fixture) - len(wrong)} of {len(fixture)} types equal"
    report.add("(a) unpacking", measured, "ggml's values, bit by bit", None, "all", not wrong, ", ".join(wrong))
    for name in ("Q4_K", "Q6_K", "Q8_0"):
        _time_unpacking(report, compute, name, fixture[name][0])


def _time_unpacking(report: Report, compute: ComputeDevice, name: str, blocks: Any) -> None:
    values = _SPEED_VALUES.get(compute.device.type, 2**24)
    many = torch.from_numpy(np.resize(blocks, (values // 256, blocks.shape[1]))).to(compute.device)
    seconds = []
    for _ in range(4):
        module(compute).synchronize()
        started = time.perf_counter()
        unpack_blocks(TYPES[name], many)
        module(compute).synchronize()
        seconds.append(time.perf_counter() - started)
    rate = values / min(seconds) / 1e9
    report.add(f"(a) unpacking {name}", f"{rate:.2f} billion values/s", "", None, "", None)


def check_gradients(report: Report, compute: ComputeDevice, folder: Path, shape: str) -> None:
    """(b) Loss and gradients equal those of the processor, in float32 and in the precision of the device."""
    path = write_model(folder / "layers.gguf", SHAPES[shape])
    reference = _loss_and_gradients(path, processor())
    against = "the processor, " + ("ggml" if has_ggml() else "torch: llama-cpp-python is not installed")
    for dtype in dict.fromkeys((torch.float32, compute.dtype)):
        loss, gradients, _ = _loss_and_gradients(path, dataclasses.replace(compute, dtype=dtype), reference[2])
        worst = max(float((gradients[n] - g).norm() / g.norm()) for n, g in reference[1].items())
        name = str(dtype).removeprefix("torch.")
        close = worst < _MOST_RELATIVE[dtype] and abs(loss - reference[0]) < _MOST_RELATIVE[dtype]
        difference = f"gradients differ by {worst:.1e} of their norm, the loss by {abs(loss - reference[0]):.1e}"
        goal = f"under {_MOST_RELATIVE[dtype]:g}"
        report.add(f"(b) {shape}, {name}", difference, against, None, goal, close)
    release(compute)
    path.unlink()


def _loss_and_gradients(
    path: Path, compute: ComputeDevice, references: tuple[float, float] | None = None
) -> tuple[float, dict[str, torch.Tensor], tuple[float, float]]:
    """Return the Con-DPO loss of a pair, the gradients of an adapter whose B is not zero, and the references.

    references: log-probabilities of the reference (default: near those that are computed here).
    """
    base = load_base(load_model_file(path), compute.dtype, compute.device, as_card=compute.as_card)
    model = add_lora(base, 8, 16, seed=1)
    generator = torch.Generator().manual_seed(2)
    for name, parameter in model.named_parameters():
        if "lora_" in name:  # drawn on the processor, so that every device has the same
            random = torch.randn(parameter.shape, generator=generator) * parameter.shape[-1] ** -0.5
            parameter.data = (random * (0.3 if "lora_B" in name else 1)).to(parameter.device)
    tokens = [int(n) for n in np.random.default_rng(3).integers(3, 600, 120)]
    packed = pack([Group(tokens[:40], (tokens[40:80], tokens[80:]))])
    chosen, rejected = sum_completion_logps(token_logps(model, packed), packed)
    references = references or (float(chosen.detach()) - 0.5, float(rejected.detach()) + 0.5)
    loss, _ = con_dpo_pair_loss(chosen, rejected, *references, 1.0, 0.1)
    loss.backward()  # type: ignore[no-untyped-call]
    found = {name: p.grad.float().cpu() for name, p in model.named_parameters() if p.grad is not None}
    return float(loss.detach()), found, references
