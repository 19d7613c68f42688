"""The user's own answers have a table of their own, and train only if the settings give them weight."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from sqlite_utils import Database

from conself_local.errors import ConselfError
from conself_local.events import ignore_events
from conself_local.settings import LAPTOP, change_settings
from conself_local.stages.train import make_job
from conself_local.store.migrations import migrations
from conself_local.store.store import Store
from conself_local.store.user_answers import UserAnswer, insert_user_answer, load_user_answers, user_pairs
from tests.fakes.tiny_model import write_tiny_model

ANSWER = UserAnswer(
    question="Write double.\x1b[2J",
    entry_point="double",
    input="(3,)",
    codes=("def double(n):\n    return n * 2\n", "def double(n):\n    return n * n\n"),
    outputs=("6", "9"),
    choice="b",
    model_sha256="abc",
    prompt_token_ids=(1, 2),
    token_ids=((3,), (4, 5)),
)


def test_a_store_of_the_version_before_gets_the_table(tmp_path: Path) -> None:
    path = tmp_path / "conself.db"
    db = Database(path)
    migrations.apply(db, stop_before="0011_user_answers")
    assert "user_answers" not in db.table_names()
    db.close()
    with Store(path) as store:
        assert load_user_answers(store) == []


def test_answers_come_back_as_they_were_given(tmp_path: Path) -> None:
    with Store(tmp_path / "conself.db") as store:
        assert [insert_user_answer(store, ANSWER), insert_user_answer(store, ANSWER)] == [1, 2]
        assert load_user_answers(store) == [ANSWER, ANSWER]
        store.db.execute("update user_answers set token_ids_a = '[\"x\"]' where id = 2")
        with pytest.raises(ConselfError, match="the stored answer 2 is damaged"):
            load_user_answers(store)


def test_an_answer_is_a_pair_of_its_model_if_it_has_weight_and_chooses() -> None:
    (pair,) = user_pairs([ANSWER], "abc", 0.5)
    assert (pair.prompt, pair.chosen, pair.rejected, pair.weight) == ((1, 2), (4, 5), (3,), 0.5)
    (other,) = user_pairs([dataclasses.replace(ANSWER, choice="a")], "abc", 1.0)
    assert (other.chosen, other.rejected) == ((3,), (4, 5))
    assert user_pairs([ANSWER], "abc", 0.0) == user_pairs([ANSWER], "another", 1.0) == []
    assert user_pairs([dataclasses.replace(ANSWER, choice="neither")], "abc", 1.0) == []


@pytest.mark.parametrize(("weight", "pairs"), [(0.0, 0), (0.7, 1)])
def test_a_round_trains_on_answers_only_if_its_settings_say_so(tmp_path: Path, weight: float, pairs: int) -> None:
    model = write_tiny_model(tmp_path / "tiny.gguf")
    with Store(tmp_path / "conself.db") as store:
        round_ = store.start_round(
            seed=0, settings=change_settings(LAPTOP, {"pairs.user_weight": weight}), model_path=model.path,
            model_sha256=model.sha256, template_hash="0", base_adapter_id=None, versions={}, request={}, problems=[],
        )  # fmt: skip
        insert_user_answer(store, dataclasses.replace(ANSWER, model_sha256=model.sha256))
        job = make_job(store, round_, model, ignore_events)
        assert [(pair.chosen, pair.weight) for pair in job.pairs] == [((4, 5), 0.7)] * pairs
        assert store.value("select count(*) from pairs") == 0, "the user's word is no claim of the consensus"
