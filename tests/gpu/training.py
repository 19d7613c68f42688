"""Check how a device trains: memory against the forecast, speed against dense weights, and an exact resume."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import torch
from safetensors.numpy import load_file

from conself_local.training.torch_backend.backend import TorchBackend
from conself_local.training.torch_backend.devices import ComputeDevice
from conself_local.training.torch_backend.trainee import TorchTrainee
from tests.gpu.device import CONTEXT_BYTES, GIB, module, open_device, release
from tests.gpu.jobs import KILLED_AFTER, make_job, train_job
from tests.gpu.report import Report
from tests.gpu.shapes import SHAPES, Shape, write_model

STEPS = 3
PACKED_SPEED_GOAL, FORECAST_GOAL, TRL_MEMORY_GOAL = 0.6, 0.15, 0.5


def check_memory(report: Report, device: str, folder: Path, name: str, card_gib: int) -> None:
    """(c) A model trains on pairs of 2 x 400 tokens within the memory of a card, with the peak that was forecast.

    On the processor a tiny model trains without a limit, and its peak says nothing.
    """
    is_card = open_device(device).device.type != "cpu"
    check = f"(c) {name} in {card_gib} GB" if is_card else f"(c) tiny in place of {name}, no limit"
    shape = SHAPES[name if is_card else "tiny"]
    why = _lacks(device, folder, shape, card_gib if is_card else 0)
    if why:
        report.skip(check, why)
        return
    path = write_model(folder / "model.gguf", shape)
    compute = open_device(device, int(card_gib * GIB) - CONTEXT_BYTES if is_card else None)
    long, answer = (200, 400) if is_card else (12, 16)
    try:
        reports = train_job(make_job(path, 2, long, answer, STEPS, 2), folder / "run", compute)
    finally:
        release(compute)
        path.unlink()
        shutil.rmtree(folder / "run", ignore_errors=True)
    steps = [one for one in reports if "step" in one]
    forecast, peak = reports[0]["forecast_peak_bytes"], max(one["memory_bytes"] for one in steps)
    notices = sum("notice" in one for one in reports)
    seconds = min(one["seconds"] for one in steps)
    measured = f"peak {peak / GIB:.2f} GiB, {seconds:.1f} s per step" + (f", {notices} times short" if notices else "")
    close = abs(peak / forecast - 1) <= FORECAST_GOAL if is_card else None
    goal = f"within {FORECAST_GOAL:.0%} of the forecast"
    report.add(check, measured, f"forecast {forecast / GIB:.2f} GiB", peak / forecast, goal, close)
    print("         " + reports[0]["forecast"], flush=True)


def _lacks(device: str, folder: Path, shape: Shape, card_gib: int) -> str:
    """Return why a shape cannot be checked here; an empty text if it can."""
    needed, free = shape.file_bytes() + GIB // 2, shutil.disk_usage(folder).free
    if free < needed:
        return f"the model needs {needed / GIB:.1f} GiB in {folder}, and {free / GIB:.1f} are free"
    if card_gib:
        compute = open_device(device)
        total = module(compute).mem_get_info(compute.device)[1] / GIB
        if total < 0.9 * card_gib:
            return f"the card has {total:.1f} GiB"
    return ""


def check_speed(report: Report, device: str, folder: Path, with_trl: bool) -> None:
    """(d) Tokens trained per second with packed and with dense weights, and by TRL's DPOTrainer where it is installed."""
    compute = open_device(device)
    is_card = compute.device.type != "cpu"
    shape = SHAPES["1.5B" if is_card else "tiny"]
    why = _lacks(device, folder, shape, 8 if is_card else 0)
    if why:
        report.skip("(d) speed", why)
        return
    prompt, answer = (200, 400) if is_card else (12, 16)
    path = write_model(folder / "speed.gguf", shape)
    rates: dict[str, float] = {}
    peaks: dict[str, float] = {}
    for dense in (False, True):
        name = "dense" if dense else "packed"
        try:
            rates[name], peaks[name] = _speed(path, compute, prompt, answer, dense)
        except torch.OutOfMemoryError:
            report.skip(f"(d) {name}", "the card's memory is too small")
        release(compute)
    path.unlink()
    if len(rates) == 2:
        ratio = rates["packed"] / rates["dense"]
        measured, against = (f"{name} {rates[name]:,.0f} tokens/s" for name in ("packed", "dense"))
        ok = ratio >= PACKED_SPEED_GOAL if is_card else None
        report.add(f"(d) speed, {shape.name}", measured, against, ratio, f"at least {PACKED_SPEED_GOAL}", ok)
    if with_trl:
        _check_trl(report, compute, shape, (prompt, answer), folder, rates, peaks)
    else:
        report.skip("(d) TRL", "it was not asked for")


def _speed(path: Path, compute: ComputeDevice, prompt: int, answer: int, dense: bool) -> tuple[float, float]:
    """Return the tokens per second and the peak in bytes of steps with two pairs, activations computed again."""
    job = make_job(path, 2, prompt, answer, 1, 2)
    backend = TorchBackend(job, compute=compute)
    trainee: TorchTrainee = backend.trainee
    trainee.keep_dense(dense)
    trainee.recompute()
    references = [(-1.0, -1.0)] * len(job.pairs)
    tokens = 2 * (prompt + 2 * answer)
    seconds = []
    for _ in range(3):
        compute.memory.reset_peak()
        started = time.perf_counter()
        backend.backward(job.pairs, references, 0.5)
        backend.step(1e-4)
        module(compute).synchronize()
        seconds.append(time.perf_counter() - started)
    return tokens / min(seconds), compute.memory.peak_bytes()


def _check_trl(
    report: Report,
    compute: ComputeDevice,
    shape: Shape,
    lengths: tuple[int, int],
    folder: Path,
    rates: dict[str, float],
    peaks: dict[str, float],
) -> None:
    try:
        from tests.gpu.trl_peer import trl_speed
    except ImportError as error:
        report.skip("(d) TRL", f"{error.name} is not installed")
        return
    is_card = compute.device.type != "cpu"
    try:
        rate, peak = trl_speed(shape, compute, lengths, folder / "trl")
    except torch.OutOfMemoryError:
        report.skip("(d) TRL", "its memory does not fit the card")
        return
    finally:
        release(compute)
    if "dense" in rates:
        ratio = rates["dense"] / rate
        measured, against = f"dense {rates['dense']:,.0f} tokens/s", f"TRL {rate:,.0f} tokens/s"
        report.add("(d) speed against TRL", measured, against, ratio, "at least 1", ratio >= 1 if is_card else None)
    if "packed" in peaks:
        ratio = peaks["packed"] / peak
        measured, against = f"packed {peaks['packed'] / GIB:.2f} GiB", f"TRL {peak / GIB:.2f} GiB"
        ok = ratio <= TRL_MEMORY_GOAL if is_card else None
        report.add("(d) memory against TRL", measured, against, ratio, f"at most {TRL_MEMORY_GOAL}", ok)


def check_resume(report: Report, device: str, folder: Path) -> None:
    """(e) A run that was killed after its second step, and continued, ends with the same adapter.

    If it does not, two undisturbed runs are compared too: some devices add in another order each time.
    """
    compute = open_device(device)
    is_card = compute.device.type != "cpu"
    path = write_model(folder / "resume.gguf", SHAPES["four layers of a 1.5B" if is_card else "tiny"])
    job = make_job(path, 4, *((60, 80) if is_card else (6, 8)), 2, 2)
    train_job(job, folder / "whole", compute)
    cut, again = folder / "cut", folder / "again"
    for one in (cut, again):
        one.mkdir()
        # the plan of a new run depends on timings, and dense weights are rounded differently from packed ones
        shutil.copy(folder / "whole" / "choices.json", one)
    job.write(cut / "job.json")
    command = [sys.executable, "-m", "tests.gpu.jobs", device, str(cut)]
    root = str(Path(__file__).parents[2])
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([root, *filter(None, sys.path)])}
    with subprocess.Popen(command, cwd=root, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("{") and json.loads(line).get("step") == KILLED_AFTER:
                process.kill()
                break
    reports = train_job(job, cut, compute)
    resumed = [one["step"] for one in reports if "step" in one]
    difference = _difference(folder / "whole", cut)
    allowed = 0.0
    if difference:
        train_job(job, again, compute)
        allowed = _difference(folder / "whole", again)
    release(compute)
    path.unlink()
    measured = f"continued with step {resumed[0] if resumed else 'none'}, largest difference {difference:.1e}"
    ok = difference <= 2 * allowed and resumed == [3, 4]
    report.add("(e) kill and resume", measured, f"two whole runs: {allowed:.1e}", None, "the same adapter", ok)


def _difference(one: Path, other: Path) -> float:
    left, right = (load_file(folder / "adapter" / "adapter_model.safetensors") for folder in (one, other))
    return max(float(abs(left[name] - right[name]).max()) for name in left)
