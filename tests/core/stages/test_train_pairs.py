"""Token ids of a file are used only if they are those of its texts; the adapter then equals that of the round."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conself_local.adapters.formats import read_gguf
from conself_local.errors import ConselfError
from conself_local.events import Event, Notice, StepDone, ignore_events
from conself_local.home import Home
from conself_local.model_files.model_file import ModelFile
from conself_local.model_files.tokenizer_hash import tokenizer_hash
from conself_local.settings import LAPTOP, PAPER, Settings, replace_values
from conself_local.stages.export_pairs import export_pairs
from conself_local.stages.train import job_of, make_job, pairs_that_fit, train_adapter
from conself_local.stages.train_pairs import Wishes, _training, token_pairs, train_on_file, training_of
from conself_local.store.store import Store
from conself_local.training.pairs_file import PairRecord, TokenIds, read_pairs, write_pairs
from tests.fakes.home_of_rounds import REAL_ROUND
from tests.fakes.tiny_model import FIRST_LETTER, LETTERS, write_tiny_model

NO_WISHES = Wishes()


class Letters:
    """A tokenizer of one token per letter; a prompt begins with token 90, and a bar ends an answer."""

    def tokenize(self, text: str, special: bool = False) -> list[int]:
        return [90] * special + [91 if letter == "|" else ord(letter) - 97 for letter in text.replace("t2", "|")]

    def detokenize(self, token_ids: Sequence[int]) -> str:
        return "".join(chr(97 + id) for id in token_ids if id < 90)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ModelFile:
    """Return a tiny model, whose end token is `t2`."""
    return write_tiny_model(tmp_path_factory.mktemp("model") / "tiny.gguf", letters=True)


def _record(model: ModelFile, **changes: Any) -> PairRecord:
    ids = TokenIds(tokenizer_hash(model), (90, 15), (2, 91), (17,))
    return dataclasses.replace(PairRecord(prompt="p", chosen="c", rejected="r", ids=ids, line=4), **changes)


def _pairs(model: ModelFile, record: PairRecord) -> list[Any]:
    return token_pairs(Path("f.jsonl"), [record], model, Letters())


def test_stated_token_ids_are_taken_as_they_are(model: ModelFile) -> None:
    (pair,) = _pairs(model, _record(model, weight=0.3))
    assert (pair.prompt, pair.chosen, pair.rejected, pair.weight) == ((90, 15), (2, 91), (17,), 0.3)


def test_texts_alone_are_tokenised_and_get_an_end_token(model: ModelFile) -> None:
    (pair,) = _pairs(model, _record(model, ids=None))
    assert (pair.prompt, pair.chosen, pair.rejected) == ((90, 15), (2, 91), (17, 91))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"chosen": "x"}, "token ids of chosen are not those of its text"),
        ({"rejected": "x"}, "token ids of rejected are not those of its text"),
        ({"prompt": "x"}, "token ids of prompt are not those of its text"),
        ({"ids": TokenIds("f" * 32, (90, 15), (2,), (17,))}, "another tokenizer"),
    ],
    ids=["chosen", "rejected", "prompt", "tokenizer"],
)
def test_token_ids_that_hide_another_text_are_refused(model: ModelFile, change: dict[str, Any], reason: str) -> None:
    """Somebody who reads the texts of a file must see what it trains."""
    with pytest.raises(ConselfError, match=rf"f\.jsonl, line 4: .*{reason}"):
        _pairs(model, _record(model, **change))


def test_a_token_beyond_the_vocabulary_is_refused(model: ModelFile) -> None:
    """llama.cpp aborts on such a token."""
    ids = dataclasses.replace(_record(model).ids or pytest.fail(), chosen=(96,))
    with pytest.raises(ConselfError, match="not in the model's vocabulary"):
        _pairs(model, _record(model, ids=ids))


def test_the_tokenizer_has_the_hash_of_its_tokens_alone(model: ModelFile, tmp_path: Path) -> None:
    other_weights = write_tiny_model(tmp_path / "a.gguf", letters=True, seed=1, template="{{ messages[0].content }}")
    other_tokens = write_tiny_model(tmp_path / "b.gguf", letters=True, edit=lambda w: w.add_add_bos_token(True))
    assert tokenizer_hash(model) == tokenizer_hash(other_weights) != tokenizer_hash(other_tokens)


def _settings_of(
    training: Sequence[dict[str, Any] | None], wishes: Wishes = NO_WISHES
) -> tuple[Settings, int, str | None]:
    records = [PairRecord(prompt="p", chosen="c", rejected="r", training=one, line=1) for one in training]
    return _training(Path("f"), records, wishes, ignore_events)


def test_the_training_of_the_round_is_repeated_unless_the_user_wants_another() -> None:
    settings = replace_values(LAPTOP, {"training.beta": 0.3, "training.epochs": 7, "training.max_displacement": None})
    stated = training_of(settings, 9, "abc")
    found, seed, base = _settings_of([stated, stated])
    assert (seed, base) == (9, "abc") and training_of(found, 9, "abc") == stated
    assert _settings_of([stated], Wishes("laptop", {}, 3, True)) == (LAPTOP, 3, None)
    assert _settings_of([None]) == (LAPTOP, 0, None)
    weak = _settings_of([stated], Wishes(changes={"training.strength": 0.5}))[0]
    assert weak == replace_values(found, {"training.strength": 0.5}), "the rest is what the file says"
    with pytest.raises(ConselfError, match=r"training\.sft_weight must be above 0"):
        _settings_of([stated], Wishes(changes={"training.sft_weight": 0.0, "training.beta": 0.0}))
    assert _settings_of([stated], Wishes("paper", {"training.epochs": 1}))[0] == replace_values(
        PAPER, {"training.epochs": 1}
    )
    of_before = {name: value for name, value in stated.items() if name != "training.strength"}
    assert _settings_of([of_before])[0].training.strength == 1, "a file of the version before says nothing about it"
    assert _settings_of([stated, stated | {"seed": 1}]) == (LAPTOP, 0, None), "lines of two rounds"


@pytest.mark.parametrize(
    "change",
    [
        {"training.epochs": 10**9}, {"training.lora_rank": 0}, {"training.lora_rank": 2.0}, {"training.learning_rate": float("nan")}, {"training.beta": "x"}, {"training.epochs": None},
        {"seed": "x"}, {"seed": True}, {"base_adapter_sha256": 3}, {"nonsense": 1}, {"training.batch_size": True},
    ],
)  # fmt: skip
def test_wild_settings_of_a_file_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ConselfError, match=r"line 1: conself\.training: "):
        _settings_of([training_of(LAPTOP, 0, None) | change])


@pytest.fixture
def exported(tmp_path: Path, model: ModelFile) -> tuple[Home, Path]:
    """Return a home with a round of the tiny model whose pairs are built, and the file of its pairs."""
    home = Home(tmp_path / "home")
    shutil.copy(REAL_ROUND, home.database)
    with Store(home.database) as store:
        settings = json.loads(store.value("select settings from rounds")) | {"max_tokens": 256, "batch_pairs": 2}
        store.db.execute("delete from adapters")
        columns = {"model_path": str(model.path), "model_sha256": model.sha256, "settings": json.dumps(settings)}
        store.db.table("rounds").update(1, columns)
        _retokenise(store)
        assert export_pairs(store, None, tmp_path / "pairs.jsonl").pairs > 1
    return home, tmp_path / "pairs.jsonl"


def _retokenise(store: Store) -> None:
    """Give the prompts and samples short texts of the tiny model's letters, and their ids."""

    def short(n: int, length: int) -> dict[str, str]:
        letters = [(n // 7**i) % 7 for i in range(length)]
        ids = json.dumps([FIRST_LETTER + letter for letter in letters])
        return {"text": "".join(LETTERS[letter] for letter in letters), "token_ids": ids}

    for table, length in (("prompts", 6), ("samples", 5)):
        for n, row in enumerate(store.rows(f"select id from {table} order by id")):
            store.db.table(table).update(row["id"], short(n, length))


def _texts_alone(path: Path) -> Path:
    """Return a copy of a file of pairs without token ids."""
    texts = path.with_name("texts.jsonl")
    values = [json.loads(line) for line in path.read_text().splitlines()]
    texts.write_text("".join(json.dumps(one | {"conself": None}) + "\n" for one in values))
    return texts


def test_an_adapter_larger_than_the_model_is_refused(exported: tuple[Home, Path], model: ModelFile) -> None:
    home, path = exported
    wishes = Wishes("laptop", {"training.lora_rank": model.embedding_length + 1})
    with Store(home.database) as store, pytest.raises(ConselfError, match=r"lora_rank is .* has only"):
        train_on_file(store, home, model, path, "large", wishes, ignore_events)


def test_a_text_only_copy_of_an_export_can_be_read(exported: tuple[Home, Path], model: ModelFile) -> None:
    _, path = exported
    whole, texts = read_pairs(path), read_pairs(_texts_alone(path))
    assert {record.ids.tokenizer for record in whole if record.ids} == {tokenizer_hash(model)}
    assert [dataclasses.replace(record, ids=None, training=None) for record in whole] == texts


class TinyLetters:
    """The tokenizer of the tiny model: one token per letter."""

    def tokenize(self, text: str, special: bool = False) -> list[int]:
        return [2] if text == "t2" else [FIRST_LETTER + LETTERS.index(letter) for letter in text]

    def detokenize(self, token_ids: Sequence[int]) -> str:
        return "".join(LETTERS[id - FIRST_LETTER] for id in token_ids)


def test_an_exported_file_gives_the_training_job_of_the_round(exported: tuple[Home, Path], model: ModelFile) -> None:
    """Equal jobs give equal adapters: pairs, order, weights, settings, seed and context are the same."""
    home, path = exported
    records = read_pairs(path)
    settings, seed, base = _training(path, records, Wishes(), ignore_events)
    pairs = pairs_that_fit(token_pairs(path, records, model, TinyLetters()), settings, ignore_events)
    with Store(home.database) as store:
        of_round = make_job(store, store.round(1), model, ignore_events)
    assert base is None and job_of(settings, model, tuple(pairs), seed=seed) == of_round


@pytest.mark.slow
def test_training_on_the_exported_file_gives_the_adapter_of_the_round(
    exported: tuple[Home, Path], model: ModelFile, tmp_path: Path
) -> None:
    home, path = exported
    texts = _texts_alone(path)
    with Store(home.database) as store:
        train_adapter(store, store.round(1), model, home, ignore_events)
        of_round = store.adapter(1)
        other_home = Home(tmp_path / "other")
        with Store(other_home.database) as other:
            id = train_on_file(other, other_home, model, path, "from-file", Wishes(), ignore_events)
            of_file = other.adapter(id)
        again = train_on_file(store, home, model, path, "from-file", Wishes(), ignore_events)
        assert store.adapter(again)["sha256"] == of_round["sha256"], "beside the round too"
        of_texts = store.adapter(train_on_file(store, home, model, texts, "from-texts", Wishes(), ignore_events))
        assert of_texts["sha256"] != of_round["sha256"], "these answers have an end token"
    assert of_file["sha256"] == of_round["sha256"]
    assert (of_file["round_id"], of_file["state"], of_file["model_sha256"]) == (0, "candidate", model.sha256)
    assert of_file["origin"].startswith(f"{len(read_pairs(path))} pairs of pairs.jsonl, sha256 ")
    assert not list(other_home.training.iterdir())


@pytest.mark.slow
def test_half_the_strength_is_half_of_the_change(exported: tuple[Home, Path], model: ModelFile, tmp_path: Path) -> None:
    home, path = exported
    half = tmp_path / "half.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines:
        line["conself"]["training"]["training.strength"] = 0.5
    half.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with Store(home.database) as store:
        ids = [train_on_file(store, home, model, file, file.stem, NO_WISHES, ignore_events) for file in (path, half)]
        whole, weak = (read_gguf(Path(store.adapter(id)["path"]), model) for id in ids)
        said = [store.adapter(id)["origin"].partition(" at ")[2] for id in ids]
    assert said == ["", "0.5 of the strength"]
    for name, (a, b) in whole.maps.items():
        assert np.array_equal(weak.maps[name][0], a) and np.allclose(weak.maps[name][1], b / 2)


class _Killed(Exception):
    """Raised in place of a SIGKILL right after a step."""


@pytest.mark.slow
def test_training_that_was_killed_continues(exported: tuple[Home, Path], model: ModelFile, tmp_path: Path) -> None:
    _, path = exported

    def train(home: Home, on_event: Callable[[Event], None]) -> str:
        with Store(home.database) as store:
            return str(store.adapter(train_on_file(store, home, model, path, "f", Wishes(), on_event))["sha256"])

    def kill(event: Event) -> None:
        if isinstance(event, StepDone) and event.step == 2:
            raise _Killed

    whole = train(Home(tmp_path / "whole"), ignore_events)
    cut, steps = Home(tmp_path / "cut"), []
    with pytest.raises(_Killed):
        train(cut, kill)
    assert train(cut, lambda e: steps.append(e.step) if isinstance(e, StepDone) else None) == whole
    assert steps[0] > 2


def test_lines_of_two_rounds_are_announced() -> None:
    events: list[Event] = []
    records = [PairRecord(prompt="p", chosen="c", rejected="r", training={"seed": n}, line=n) for n in (1, 2)]
    _training(Path("f"), records, Wishes(), events.append)
    assert [e.text for e in events if isinstance(e, Notice)] == [
        "the lines of f state different trainings; the preset laptop decides"
    ]


def test_a_bad_name_is_refused_before_anything_is_read(tmp_path: Path, model: ModelFile) -> None:
    home = Home(tmp_path / "home")
    with Store(home.database) as store, pytest.raises(ConselfError, match="cannot be the name of an adapter"):
        train_on_file(store, home, model, tmp_path / "missing", "../x", Wishes(), ignore_events)


def test_a_base_adapter_that_is_not_here_is_named(tmp_path: Path, model: ModelFile) -> None:
    home, path = Home(tmp_path / "home"), tmp_path / "pairs.jsonl"
    write_pairs(path, [_record(model, training=training_of(LAPTOP, 0, "a" * 64))])
    with Store(home.database) as store, pytest.raises(ConselfError, match="this home does not have") as caught:
        train_on_file(store, home, model, path, "f", Wishes(), ignore_events)
    assert "--from-base" in caught.value.hint
