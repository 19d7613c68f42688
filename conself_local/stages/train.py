"""Stage 7, `train`: train one adapter on the round's pairs, in a child process, and store its steps and its files.

Interrupted training continues from its last checkpoint. Not covered: the run of the trainer (`run_training.py`), pairs
from a file (`train_pairs.py`), and whether the adapter makes the model better (`evaluate.py`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from conself_local.events import Notice, NoticeKind, OnEvent, StageDone
from conself_local.home import Home
from conself_local.machine.resources import usable_cores
from conself_local.model_files.memory import padded_tokens
from conself_local.model_files.model import Model
from conself_local.settings import Settings
from conself_local.stages.run_training import run_training, save_adapter, step_event
from conself_local.store.store import RoundInfo, Row, Store
from conself_local.store.user_answers import load_user_answers, user_pairs
from conself_local.training.diagnostics import training_warnings
from conself_local.training.job import TokenPair, TrainingJob


def make_job(store: Store, round_: RoundInfo, model: Model, on_event: OnEvent) -> TrainingJob:
    """Return the training job of the round: its pairs as token ids, and those of the user if they have weight.

    Pairs that the user excluded or that are longer than `training.max_tokens` are not part of it; a notice reports the
    number of the latter.
    """
    settings = round_.settings
    sql = """select q.prompt_id, q.weight, c.token_ids as chosen, r.token_ids as rejected from pairs q
             join samples c on c.id = q.chosen_id join samples r on r.id = q.rejected_id
             where q.round_id = ? and not q.excluded order by q.position"""
    pairs = [
        TokenPair(
            store.prompt_token_ids(row["prompt_id"]),
            tuple(json.loads(row["chosen"])),
            tuple(json.loads(row["rejected"])),
            row["weight"],
        )
        for row in store.rows(sql, round_.id)
    ]
    by_user = user_pairs(load_user_answers(store), model.sha256, settings.pairs.user_weight)
    pairs += [TokenPair(pair.prompt, pair.chosen, pair.rejected, pair.weight) for pair in by_user]
    pairs = pairs_that_fit(pairs, settings, on_event)
    parent_id = parent_adapter(round_)
    parent = store.adapter(parent_id)["peft_path"] if parent_id else None
    return job_of(settings, model, tuple(pairs), seed=round_.seed, parent=parent)


def parent_adapter(round_: RoundInfo) -> int | None:
    """Return the adapter that the round trains further, or None if it trains a new one.

    A round that pools votes starts from the base model: its pairs hold what earlier adapters learnt from.
    """
    return None if round_.settings.pairs.pool_rounds else round_.base_adapter_id


def pairs_that_fit(pairs: Sequence[TokenPair], settings: Settings, on_event: OnEvent) -> list[TokenPair]:
    """Return the pairs of at most `settings.training.max_tokens` tokens; a notice reports the number of the others."""
    limit = settings.training.max_tokens
    fitting = [pair for pair in pairs if len(pair.prompt) + max(len(pair.chosen), len(pair.rejected)) <= limit]
    if too_long := len(pairs) - len(fitting):
        text = f"{too_long} pairs are longer than {limit} tokens and are not used for training"
        on_event(Notice(text, NoticeKind.PAIRS_LEFT_OUT, "train"))
    return fitting


def job_of(
    settings: Settings, model: Model, pairs: tuple[TokenPair, ...], *, seed: int = 0, parent: str | None = None
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


@dataclass(frozen=True)
class GivenJob:
    """A job that does not train on the pairs of the round."""

    job: TrainingJob
    origin: str
    """What it trains on, for a person."""


def train_adapter(
    store: Store, round_: RoundInfo, model: Model, home: Home, on_event: OnEvent, given: GivenJob | None = None
) -> None:
    """Train an adapter and store it as a `candidate`; do nothing if the round has one already.

    given: the job that replaces that of the round's pairs. Without pairs no adapter is made, and the summary says so.
    Raises ConselfError with the message of the trainer, TrainingFailedError if its process died, and ConselfError if
    the files cannot be copied.
    """
    if store.value("select id from adapters where round_id = ?", round_.id):
        return
    job = given.job if given else make_job(store, round_, model, on_event)
    if not job.pairs:
        _finish(store, round_, "no pairs, so nothing was trained", on_event)
        return
    folder = home.training_folder(round_.id)

    def store_step(report: Row) -> None:
        store.db.table("training_steps").upsert({"round_id": round_.id, **report}, pk=("round_id", "step"))

    last = run_training(job, folder, on_event, store_step)
    parent = None if given else parent_adapter(round_)
    columns = {"round_id": round_.id, "parent_id": parent, "origin": given.origin if given else None}
    strength = round_.settings.training.strength
    adapter_id = save_adapter(store, home, model, folder, f"round-{round_.id}", columns, strength, job.parent_adapter)
    first_loss, last_loss = (
        store.value(f"select loss from training_steps where round_id = ? order by step {order} limit 1", round_.id)
        for order in ("asc", "desc")
    )
    change = last["mean_absolute_change_per_token"]
    summary = (
        f"{last['steps_done']} steps on {len(job.pairs)} pairs, loss {first_loss:.4f} to {last_loss:.4f}; "
        f"mean absolute change in log-probability on the pairs: {change:.4f} nats per token; adapter {adapter_id}"
    )
    if strength < 1:
        summary += f", which keeps {strength:g} of the change in the weights; the figures are of all of it"
    rows = store.rows("select * from training_steps where round_id = ? order by step", round_.id)
    for warning in training_warnings([step_event(row) for row in rows], job.pairs):
        on_event(warning)
    _finish(store, round_, summary, on_event)


def _finish(store: Store, round_: RoundInfo, summary: str, on_event: OnEvent) -> None:
    """Store and report the summary of the stage."""
    store.finish_stage(round_.id, "train", summary)
    on_event(StageDone("train", summary))
