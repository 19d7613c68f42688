"""With a graphics card, training waits until the engine's memory is back, and the sandbox has all cores meanwhile."""

from __future__ import annotations

from typing import Any

import pytest

from conself_local.events import Notice
from conself_local.machine.gpu import Gpu
from conself_local.model_files.bundled import bundled_model
from conself_local.model_files.model_file import load_model_file
from conself_local.round import context
from conself_local.stages import run_training

GIB = 2**30


@pytest.mark.parametrize("on_card", [True, False])
def test_training_starts_when_the_card_has_its_memory_back(on_card: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a card nothing is waited for, and main memory is checked as before."""
    waited: list[None] = []
    checked: list[int] = []

    def wait() -> int:
        waited.append(None)
        return 5 * GIB

    monkeypatch.setattr(run_training, "trains_on_card", lambda gpus, build: on_card)
    monkeypatch.setattr(run_training, "wait_until_released", wait)
    monkeypatch.setattr(run_training, "verify_memory", lambda what, needed, hint: checked.append(needed))
    events: list[Any] = []
    run_training.verify_room_for_training(load_model_file(bundled_model()), events.append)
    assert len(waited) == int(on_card) and len(checked) == 1
    texts = [event.text for event in events if isinstance(event, Notice)]
    assert texts == (["the engine has ended; 5.0 GiB of the card's memory are free for training"] if on_card else [])


def test_the_sandbox_has_all_cores_while_a_card_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    compute = context.ComputeOptions(workers=8)
    monkeypatch.setattr(context, "usable_gpu", lambda: None)
    assert compute.overlap_workers == 2
    monkeypatch.setattr(context, "usable_gpu", lambda: Gpu("a card", "NVIDIA", 8 * GIB))
    assert compute.overlap_workers == 8
    assert context.ComputeOptions(workers=8, use_gpu=False).overlap_workers == 2
