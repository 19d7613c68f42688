"""Train an adapter on a file of pairs, without a round, or in a round whose request names the file.

A file that `conself pairs --to` wrote holds token ids and the settings of its round, so the adapter equals that of the
round. Token ids are used only if they are those of the texts beside them; a file without them is tokenised, and each
answer gets an end token, as TRL does. Training that was stopped or killed continues, because its folder is named by
its content. Not covered: the form of the file (`training/pairs_file.py`), and an evaluation of the adapter.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

from conself_local.adapters.importing import new_adapter_folder
from conself_local.errors import ConselfError
from conself_local.events import Notice, NoticeKind, OnEvent
from conself_local.hashes import file_sha256
from conself_local.home import Home
from conself_local.machine.resources import usable_cores
from conself_local.model_files.model import Model
from conself_local.model_files.tokenizer_hash import tokenizer_hash
from conself_local.model_files.trainable import verify_rank
from conself_local.sampling.open_engine import open_original
from conself_local.settings import (
    FIELDS,
    LAPTOP,
    PRESETS,
    Settings,
    find_conflicts,
    get_value,
    replace_values,
    verify_value,
)
from conself_local.stages.run_training import run_training, save_adapter, verify_room_for_training
from conself_local.stages.train import GivenJob, job_of, pairs_that_fit
from conself_local.store.store import IMPORTED, RoundInfo, Store
from conself_local.training.job import TokenPair
from conself_local.training.pairs_file import PairRecord, read_pairs

_TRAINING = (
    *(name for name in FIELDS if name.startswith("training.")), "sampling.max_new_tokens", "sampling.thinking_tokens",
)  # fmt: skip
"""The settings that training depends on."""
PAIRS_FILE, PAIRS_SHA256 = "pairs_file", "pairs_sha256"
"""Keys of a round's request: a file of pairs that replace those of the round in training, and its sha256."""
_UNSAID = {"training.strength": 1.0}
"""The settings that files of earlier versions do not state, with the values that such a training had."""
_SEED, _BASE = "seed", "base_adapter_sha256"
_CONTEXT_TOKENS = 256
"""Context of the engine, which only tokenises here."""
_OTHER_IDS = "export the file again, or remove the field conself from its lines to train on the texts"


class Tokenizer(Protocol):
    """What a `LlamaProcess` offers to turn texts into token ids and back."""

    def tokenize(self, text: str, special: bool = False) -> list[int]:
        """Return the token ids of a completion, or with `special` of a rendered prompt."""

    def detokenize(self, token_ids: Sequence[int]) -> str:
        """Return the text of a completion's tokens."""


@dataclass(frozen=True)
class Wishes:
    """What the user asked for; None: what the file says, else `laptop`, seed 0 and a new adapter."""

    preset: str | None = None
    """A preset of this program, in the place of the settings that the file states."""
    changes: Mapping[str, Any] = field(default_factory=dict)
    """Full name -> value of the settings that differ, each checked; those that training does not use do nothing."""
    seed: int | None = None
    from_base: bool = False
    """Whether to train a new adapter even if the file was made for a round that began with one."""


def training_of(settings: Settings, seed: int, base_adapter_sha256: str | None) -> dict[str, Any]:
    """Return what the training of a round depends on besides its pairs and its model, as JSON values."""
    return {_SEED: seed, _BASE: base_adapter_sha256} | {name: get_value(settings, name) for name in _TRAINING}


def train_on_file(
    store: Store, home: Home, model: Model, path: Path, name: str, wishes: Wishes, on_event: OnEvent
) -> int:
    """Train an adapter for `model` on the pairs of a file, store it as the candidate `name`, and return its id.

    The caller holds the lock of the home. Raises ConselfError if the name or the file cannot be used, if no pair is
    short enough, or if memory, disk or trainer fail; the next call continues from the last checkpoint.
    """
    new_adapter_folder(store, home, name)
    records = read_pairs(path)
    settings, seed, base = _training(path, records, wishes, on_event)
    verify_rank(model, settings.training.lora_rank)
    parent = _parent(store, model, base)
    pairs = _fitting_pairs(path, records, model, home, settings, on_event)
    verify_room_for_training(model, on_event)
    parent_path = store.adapter(parent)["peft_path"] if parent else None
    job = job_of(settings, model, pairs, seed=seed, parent=parent_path)
    folder = home.training / f"pairs-{job.content_hash()[:16]}"
    run_training(job, folder, on_event)
    columns = {"round_id": IMPORTED, "parent_id": parent, "origin": _origin(path, len(pairs), settings)}
    adapter_id = save_adapter(store, home, model, folder, name, columns, settings.training.strength, parent_path)
    shutil.rmtree(folder, ignore_errors=True)
    return adapter_id


def job_of_file(round_: RoundInfo, model: Model, home: Home, on_event: OnEvent) -> GivenJob | None:
    """Return the job of a round whose request names a file of pairs, under the round's settings; None if it names none.

    Such a round trains a new adapter. Raises ConselfError if the file has changed or cannot be used.
    """
    if not round_.request.get(PAIRS_FILE):
        return None
    path = Path(round_.request[PAIRS_FILE])
    records = read_pairs(path)
    if file_sha256(path) != round_.request[PAIRS_SHA256]:
        raise ConselfError(f"{path} has changed since round {round_.id} began", "restore it, or begin another round")
    pairs = _fitting_pairs(path, records, model, home, round_.settings, on_event)
    return GivenJob(job_of(round_.settings, model, pairs, seed=round_.seed), _origin(path, len(pairs), round_.settings))


def _origin(path: Path, pairs: int, settings: Settings) -> str:
    strength = settings.training.strength
    kept = "" if strength == 1 else f", at {strength:g} of the strength"
    return f"{pairs} pairs of {path.name}, sha256 {file_sha256(path)}{kept}"


def _fitting_pairs(
    path: Path, records: Sequence[PairRecord], model: Model, home: Home, settings: Settings, on_event: OnEvent
) -> tuple[TokenPair, ...]:
    """Return the pairs that are short enough, as token ids. Raises ConselfError if there are none."""
    with open_original(
        model, home.cache, slots=1, threads=usable_cores(), longest=_CONTEXT_TOKENS, use_gpu=False
    ) as engine:
        pairs = pairs_that_fit(token_pairs(path, records, model, engine), settings, on_event)
    if not pairs:
        raise ConselfError(f"no pair of {path} has at most {settings.training.max_tokens} tokens", "shorten its texts")
    return tuple(pairs)


def _training(
    path: Path, records: Sequence[PairRecord], wishes: Wishes, on_event: OnEvent
) -> tuple[Settings, int, str | None]:
    """Return (settings, seed, sha256 of the adapter to train further or None). Raises ConselfError for a bad value."""
    stated = [record.training for record in records]
    common = stated[0] if all(one == stated[0] for one in stated) else None
    if common is None and any(stated):
        text = f"the lines of {path} state different trainings; the preset {wishes.preset or LAPTOP.preset} decides"
        on_event(Notice(text, NoticeKind.PAIRS_FILE, "train"))
    values = common or {}
    try:
        seed, base = _checked(values)
        found = {name: values[name] for name in _TRAINING if name in values}
        found = _UNSAID | found if found else {}
        for setting, value in found.items():
            verify_value(setting, value)
    except ValueError as error:
        raise ConselfError(f"{path}, line {records[0].line}: conself.training: {error}", _OTHER_IDS) from error
    start = PRESETS[wishes.preset] if wishes.preset else replace_values(LAPTOP, found)
    settings = replace_values(start, wishes.changes)
    for conflict in find_conflicts(settings) if wishes.changes else ():
        raise ConselfError(conflict.message, "change another setting too: `conself settings` shows all")
    return settings, seed if wishes.seed is None else wishes.seed, None if wishes.from_base else base


def _checked(values: dict[str, Any]) -> tuple[int, str | None]:
    """Return seed and adapter of what a file states. Raises ValueError that names an unknown or wrong one."""
    if unknown := sorted(set(values) - {_SEED, _BASE, *_TRAINING}):
        raise ValueError(f"unknown field {unknown[0]!r:.60}")
    seed, base = values.get(_SEED, 0), values.get(_BASE)
    if type(seed) is not int or not -(2**63) <= seed < 2**63 or not isinstance(base, str | None):
        raise ValueError(f"{_SEED} must be a whole number of at most 63 bits, and {_BASE} a hash")
    return seed, base


def _parent(store: Store, model: Model, base_sha256: str | None) -> int | None:
    """Return the adapter of this home to train further. Raises ConselfError if the file names one that is not here."""
    if base_sha256 is None:
        return None
    sql = "select id from adapters where sha256 = ? and model_sha256 = ? order by id limit 1"
    found: int | None = store.value(sql, base_sha256, model.sha256)
    if found is None:
        raise ConselfError(
            "the pairs were made by a round that began with an adapter which this home does not have for this model",
            "import that adapter first (conself import-adapter), or train a new adapter with --from-base",
        )
    return found


def token_pairs(path: Path, records: Sequence[PairRecord], model: Model, tokenizer: Tokenizer) -> list[TokenPair]:
    """Return the pairs as token ids. Raises ConselfError, with the line, if stated token ids are not those of a text.

    Sampled token ids are not always those that the tokenizer would give for their text, so it is their text that is
    compared; answers of a server that returns text only were tokenised, so those ids are right too.
    """
    own_tokenizer = tokenizer_hash(model) if any(record.ids for record in records) else ""
    prompt_ids = lru_cache(maxsize=1024)(lambda text: tuple(tokenizer.tokenize(text, special=True)))
    end = tokenizer.tokenize(model.special_tokens["eos_token"], special=True)[-1:]
    pairs = []
    for record in records:
        prompt = prompt_ids(record.prompt)
        if record.ids is None:
            answers = [(*tokenizer.tokenize(text), *end) for text in (record.chosen, record.rejected)]
            pairs.append(TokenPair(prompt, answers[0], answers[1], record.weight))
            continue
        _verify_ids(path, record, own_tokenizer, model.vocabulary, prompt, tokenizer)
        pairs.append(TokenPair(record.ids.prompt, record.ids.chosen, record.ids.rejected, record.weight))
    return pairs


def _verify_ids(
    path: Path,
    record: PairRecord,
    own_tokenizer: str,
    vocabulary: int,
    prompt: tuple[int, ...],
    tokenizer: Tokenizer,
) -> None:
    ids, where = record.ids, f"{path}, line {record.line}"
    assert ids is not None, "the caller has asked"
    if ids.tokenizer != own_tokenizer:
        raise ConselfError(
            f"{where}: the token ids are those of another tokenizer than the model's",
            "give the model of the round with --model, or remove the field conself to train on the texts",
        )
    if max(*ids.prompt, *ids.chosen, *ids.rejected) >= vocabulary:
        raise ConselfError(f"{where}: a token id is not in the model's vocabulary", _OTHER_IDS)
    fits: dict[str, Callable[[], bool]] = {
        "prompt": lambda: ids.prompt == prompt,
        "chosen": lambda: _is_text_of(record.chosen, ids.chosen, tokenizer),
        "rejected": lambda: _is_text_of(record.rejected, ids.rejected, tokenizer),
    }
    for name, holds in fits.items():
        if not holds():
            raise ConselfError(f"{where}: the token ids of {name} are not those of its text", _OTHER_IDS)


def _is_text_of(text: str, ids: tuple[int, ...], tokenizer: Tokenizer) -> bool:
    return tokenizer.detokenize(ids) == text or tuple(tokenizer.tokenize(text)) == ids
