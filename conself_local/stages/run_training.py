"""Run the trainer on a job, follow it with events, and keep its adapter; a round and a file of pairs do this alike.

Not covered: what the job is (`train.py`, `train_pairs.py`), and the training itself (`training/`).
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from conself_local.adapters.formats import read_adapter, write_peft
from conself_local.adapters.native import native_path, write_native
from conself_local.adapters.strength import weaken
from conself_local.errors import ConselfError
from conself_local.events import ItemStored, Notice, NoticeKind, OnEvent, StageStarted, StepDone
from conself_local.home import Home
from conself_local.machine.builds import torch_build, trains_on_card
from conself_local.machine.gpu import find_gpus, wait_until_released
from conself_local.machine.room import gib, verify_memory
from conself_local.model_files.memory import training_bytes
from conself_local.model_files.mlx_folder import MlxFolder
from conself_local.model_files.model import Model, adapter_form, adapter_sha256
from conself_local.store.store import Row, Store
from conself_local.training.job import TrainingJob
from conself_local.training.trainer_process import run_trainer

STAGE_OF_REPORT = {"reference": "train: reference", "step": "train", "measured": "train: measure"}
"""Key of a trainer's report -> name of the stage in the events."""
_NOTICES = {"forecast": NoticeKind.TRAINING_FORECAST, "notice": NoticeKind.MEMORY_REDUCED}
_STEP_FIELDS = StepDone.__dataclass_fields__


def verify_room_for_training(model: Model, on_event: OnEvent) -> None:
    """Wait until the card has the engine's memory back, and raise ConselfError if main memory is too small to train."""
    on_card = not isinstance(model, MlxFolder) and trains_on_card(find_gpus(), torch_build())
    if on_card:
        free = wait_until_released()
        if free is not None:
            text = f"the engine has ended; {gib(free)} of the card's memory are free for training"
            on_event(Notice(text, NoticeKind.CARD_RELEASED, "train"))
    verify_memory("training", training_bytes(model, on_card), "close other programs, or train a smaller model")


def run_training(
    job: TrainingJob, folder: Path, on_event: OnEvent, store_step: Callable[[Row], None] = lambda step: None
) -> dict[str, Any]:
    """Train the job in `folder`, from its last checkpoint if there is one, and return the trainer's last report.

    `store_step` gets each optimiser step before its event is sent. Raises ConselfError with the message of the trainer,
    TrainingFailedError if its process died.
    """
    last: dict[str, Any] = {}
    shown = None
    for report in run_trainer(job, folder):
        for what, kind in _NOTICES.items():
            if what in report:
                on_event(Notice(f"training: {report[what]}", kind, "train"))
        part = next((key for key in STAGE_OF_REPORT if key in report), None)
        if part and part != shown:
            shown = part
            on_event(StageStarted(STAGE_OF_REPORT[part], report[part], report["steps" if part == "step" else "pairs"]))
        if part and part != "step":
            on_event(ItemStored(STAGE_OF_REPORT[part], report[part], report["pairs"], ""))
        if "step" in report:
            store_step(report)
            on_event(step_event(report))
            on_event(ItemStored("train", report["step"], report["steps"], f"loss {report['loss']:.4f}"))
        last = report
    return last


def step_event(step: Mapping[str, Any]) -> StepDone:
    """Return the event of an optimiser step from the trainer's report or a row of `training_steps`."""
    return StepDone(**{key: step[key] for key in _STEP_FIELDS})


def save_adapter(
    store: Store, home: Home, model: Model, folder: Path, name: str, columns: Row, strength: float, parent: str | None
) -> int:
    """Keep what training made as the adapter `name` and store it; return its id.

    `columns` are the other columns of `adapters`, `strength` is the share of the training's change to keep, and
    `parent` is the PEFT folder of the adapter that was trained further. Raises ConselfError if the files cannot be
    written.
    """
    target = home.adapter_folder(name)
    path = native_path(model, target)
    try:
        shutil.rmtree(target, ignore_errors=True)
        if strength < 1:
            before = read_adapter(Path(parent), model) if parent else None
            kept = weaken(read_adapter(folder / "adapter", model), strength, before)
            write_peft(kept, target / "peft", model.architecture)
            write_native(kept, model, target)
        else:
            _copy_trained(model, folder, target)
    except OSError as error:
        raise ConselfError(
            f"the adapter cannot be saved in {target}: {error.strerror}",
            "check free disk space and permissions, then start again",
        ) from error
    return store.insert_adapter(
        {
            "name": name,
            "peft_path": str(target / "peft"),
            "path": str(path),
            "sha256": adapter_sha256(path),
            "form": adapter_form(model),
            "model_path": str(model.path),
            "model_sha256": model.sha256,
            **columns,
        }
    )


def _copy_trained(model: Model, folder: Path, target: Path) -> None:
    """Copy the PEFT folder and what the engine loads as the trainer wrote them."""
    shutil.copytree(folder / "adapter", target / "peft")
    trained, path = native_path(model, folder), native_path(model, target)
    if trained.is_dir():
        shutil.copytree(trained, path)
    else:
        shutil.copy2(trained, path)
