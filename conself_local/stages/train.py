"""Stage 7, `train`: train one adapter on the round's pairs, in a child process, and store its steps and its files.

Interrupted training continues from its last checkpoint. Not covered: the training itself (`training/`), and whether the
adapter makes the model better (`evaluate.py`).
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from conself_local.errors import ConselfError
from conself_local.events import ItemStored, Notice, OnEvent, StageDone, StageStarted, StepDone
from conself_local.hashes import file_sha256
from conself_local.home import Home
from conself_local.machine.resources import usable_cores
from conself_local.model_files.memory import padded_tokens
from conself_local.model_files.model_file import ModelFile
from conself_local.settings import Settings
from conself_local.store.store import RoundInfo, Store
from conself_local.store.user_answers import load_user_answers, user_pairs
from conself_local.training.diagnostics import training_warnings
from conself_local.training.job import TokenPair, TrainingJob
from conself_local.training.trainer_process import run_trainer

STAGE_OF_REPORT = {"reference": "train: reference", "step": "train", "measured": "train: measure"}
"""Key of a trainer's report -> name of the stage in the events."""
_STEP_FIELDS = StepDone.__dataclass_fields__


def make_job(store: Store, round_: RoundInfo, model: ModelFile, on_event: OnEvent) -> TrainingJob:
    """Return the training job of the round: its pairs as token ids, and those of the user if they have weight.

    Pairs that the user excluded or that are longer than `training.max_tokens` are not part of it; a notice reports the
    number of the latter.
    """
    settings = round_.settings
    sql = """select q.prompt_id, q.weight, c.token_ids as chosen, r.token_ids as rejected from pairs q
             join samples c on c.id = q.chosen_id join samples r on r.id = q.rejected_id
             where q.round_id = ? and not q.excluded order by q.position"""
    found = [
        TokenPair(
            store.prompt_token_ids(row["prompt_id"]),
            tuple(json.loads(row["chosen"])),
            tuple(json.loads(row["rejected"])),
            row["weight"],
        )
        for row in store.rows(sql, round_.id)
    ]
    by_user = user_pairs(load_user_answers(store), model.sha256, settings.pairs.user_weight)
    found += [TokenPair(pair.prompt, pair.chosen, pair.rejected, pair.weight) for pair in by_user]
    pairs, too_long, limit = [], 0, settings.training.max_tokens
    for pair in found:
        if len(pair.prompt) + max(len(pair.chosen), len(pair.rejected)) > limit:
            too_long += 1
            continue
        pairs.append(pair)
    if too_long:
        on_event(Notice(f"{too_long} pairs are longer than {limit} tokens and are not used for training"))
    parent = store.adapter(round_.base_adapter_id)["peft_path"] if round_.base_adapter_id else None
    return job_of(settings, model, tuple(pairs), seed=round_.seed, parent=parent)


def job_of(
    settings: Settings, model: ModelFile, pairs: tuple[TokenPair, ...], *, seed: int = 0, parent: str | None = None
) -> TrainingJob:
    """Return a training job for these pairs under a round's settings.

    `parent` is the PEFT folder of the adapter that is trained further; None: a new adapter. Uses all usable cores.
    """
    longest_prompt, training = max((len(pair.prompt) for pair in pairs), default=0), settings.training
    return TrainingJob(
        str(model.path),
        model.architecture,
        parent,
        pairs,
        seed,
        training.beta,
        training.lora_rank,
        training.lora_alpha,
        training.learning_rate,
        training.epochs,
        training.batch_size,
        training.warmup_ratio,
        training.max_grad_norm,
        training.sft_weight,
        training.max_displacement,
        threads=usable_cores(),
        context_tokens=padded_tokens(longest_prompt + settings.sampling.longest_completion),
    )


def train_adapter(store: Store, round_: RoundInfo, model: ModelFile, home: Home, on_event: OnEvent) -> None:
    """Train an adapter and store it as a `candidate`; do nothing if the round has one already.

    Without pairs no adapter is made, and the summary says so. Raises ConselfError with the message of the trainer,
    TrainingFailedError if its process died, and ConselfError if the files cannot be copied.
    """
    if store.value("select id from adapters where round_id = ?", round_.id):
        return
    job = make_job(store, round_, model, on_event)
    if not job.pairs:
        _finish(store, round_, "no pairs, so nothing was trained", on_event)
        return
    folder = home.training_folder(round_.id)
    last: dict[str, Any] = {}
    shown = None
    for report in run_trainer(job, folder):
        if "forecast" in report:
            on_event(Notice(f"training: {report['forecast']}"))
        if "notice" in report:
            on_event(Notice(f"training: {report['notice']}"))
        part = next((key for key in STAGE_OF_REPORT if key in report), None)
        if part and part != shown:
            shown = part
            on_event(StageStarted(STAGE_OF_REPORT[part], report[part], report["steps" if part == "step" else "pairs"]))
        if part and part != "step":
            on_event(ItemStored(STAGE_OF_REPORT[part], report[part], report["pairs"], ""))
        if "step" in report:
            store.db.table("training_steps").upsert({"round_id": round_.id, **report}, pk=("round_id", "step"))
            on_event(StepDone(**{key: report[key] for key in _STEP_FIELDS}))
            on_event(ItemStored("train", report["step"], report["steps"], f"loss {report['loss']:.4f}"))
        last = report
    adapter_id = _store_adapter(store, round_, model, folder, home)
    first_loss, last_loss = (
        store.value(f"select loss from training_steps where round_id = ? order by step {order} limit 1", round_.id)
        for order in ("asc", "desc")
    )
    change = last["mean_absolute_change_per_token"]
    summary = (
        f"{last['steps_done']} steps on {len(job.pairs)} pairs, loss {first_loss:.4f} to {last_loss:.4f}; "
        f"mean absolute change in log-probability on the pairs: {change:.4f} nats per token; adapter {adapter_id}"
    )
    rows = store.rows("select * from training_steps where round_id = ? order by step", round_.id)
    for sentence in training_warnings([StepDone(**{key: row[key] for key in _STEP_FIELDS}) for row in rows], job.pairs):
        on_event(Notice(sentence))
    _finish(store, round_, summary, on_event)


def _store_adapter(store: Store, round_: RoundInfo, model: ModelFile, folder: Path, home: Home) -> int:
    """Copy the finished files to the folder of the adapter, then store the adapter; return its id."""
    name = f"round-{round_.id}"
    target = home.adapter_folder(name)
    try:
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(folder / "adapter", target / "peft")
        shutil.copy2(folder / "adapter.gguf", target / "adapter.gguf")
    except OSError as error:
        raise ConselfError(
            f"the adapter cannot be saved in {target}: {error.strerror}",
            "check free disk space and permissions, then start again",
        ) from error
    gguf = target / "adapter.gguf"
    return store.insert_adapter(
        {
            "name": name,
            "round_id": round_.id,
            "parent_id": round_.base_adapter_id,
            "peft_path": str(target / "peft"),
            "gguf_path": str(gguf),
            "gguf_sha256": file_sha256(gguf),
            "model_path": str(model.path),
            "model_sha256": model.sha256,
        }
    )


def _finish(store: Store, round_: RoundInfo, summary: str, on_event: OnEvent) -> None:
    """Store and report the summary of the stage."""
    store.finish_stage(round_.id, "train", summary)
    on_event(StageDone("train", summary))
