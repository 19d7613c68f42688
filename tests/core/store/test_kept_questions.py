"""Questions are kept once, with their inputs and votes, and are forgotten everywhere in the store."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from sqlite_utils import Database

from conself_local.errors import ConselfError
from conself_local.home import Home
from conself_local.maintenance.forget import edited_file, forget_questions
from conself_local.problems.problem import Problem
from conself_local.round.verify import verify_store
from conself_local.settings import LAPTOP, Settings, change_settings
from conself_local.store.copying import is_empty
from conself_local.store.forgetting import find_traces
from conself_local.store.kept_questions import (
    AnsweredQuestion,
    Votes,
    change_problem,
    keep_question,
    load_question,
    load_questions,
    set_keeping,
    set_taken,
)
from conself_local.store.migrations import migrations
from conself_local.store.store import Store
from conself_local.store.user_answers import UserAnswer, insert_user_answer, load_user_answers

SECRET = "zebrafinch"
VOTES = Votes("confirmed", 4, 4, (4,))


def _answered(name: str, statement: str = "", votes: Votes = VOTES) -> AnsweredQuestion:
    statement = statement or f"Write {name}, which counts {SECRET} birds of {name}."
    problem = Problem("mine", statement, "function", ((1,), (2,)), "train", name, f"def {name}(n):")
    return AnsweredQuestion(f"asked: {statement}", problem, votes)


def test_a_store_of_the_version_before_gets_the_tables(tmp_path: Path) -> None:
    path = tmp_path / "conself.db"
    db = Database(path)
    migrations.apply(db, stop_before="0012_use")
    assert not {"kept_questions", "choices", "nights"} & set(db.table_names())
    db.close()
    with Store(path) as store:
        assert load_questions(store) == []


def test_a_question_that_is_asked_again_keeps_its_number_and_gets_the_new_votes(tmp_path: Path) -> None:
    with Store(tmp_path / "conself.db") as store:
        assert is_empty(store)
        assert [keep_question(store, _answered("f")), keep_question(store, _answered("g"))] == [1, 2]
        assert keep_question(store, _answered("f", votes=Votes("unsure", 2, 16, (2, 2)))) == 1
        one, two = load_questions(store)
        assert (one.votes, two.votes.sampled) == (Votes("unsure", 2, 16, (2, 2)), 4) and not is_empty(store)
        assert one.problem.id == f"mine/1-{one.problem.content_hash()[:8]}" and one.problem.inputs == ((1,), (2,))


def test_the_same_problem_in_another_question_is_not_kept_twice(tmp_path: Path) -> None:
    with Store(tmp_path / "conself.db") as store:
        keep_question(store, _answered("f", "Write f, which counts the birds."))
        assert keep_question(store, _answered("f", "write f which counts the BIRDS")) == 1
        assert keep_question(store, _answered("g", "write g which counts the BIRDS")) == 2


def test_nothing_is_kept_while_keeping_is_off_and_what_is_kept_stays(tmp_path: Path) -> None:
    with Store(tmp_path / "conself.db") as store:
        keep_question(store, _answered("f"))
        set_keeping(store, False)
        assert keep_question(store, _answered("g")) is None and len(load_questions(store)) == 1
        set_keeping(store, True)
        assert keep_question(store, _answered("g")) == 2


def test_an_edited_problem_stays_when_the_question_is_asked_again(tmp_path: Path) -> None:
    with Store(tmp_path / "conself.db") as store:
        keep_question(store, _answered("f"))
        before = load_question(store, 1).problem
        change_problem(store, 1, dataclasses.replace(before, statement="Another statement by hand."))
        keep_question(store, _answered("f", votes=Votes("replaced", 3, 8, (3,))))
        after = load_question(store, 1)
        assert after.is_edited and after.problem.statement == "Another statement by hand." and after.votes.sampled == 8
        assert after.problem.id != before.id, "a round that trained on the old one keeps it"
        keep_question(store, _answered("g"))
        with pytest.raises(ConselfError, match="your question 1 says the same"):
            change_problem(store, 2, after.problem)


@pytest.mark.parametrize(
    ("column", "value"),
    [("problem", "{"), ("problem", '{"statement": 1}'), ("votes", "[]"), ("votes", '{"verdict": 1, "agree": 1}')],
)
def test_a_damaged_question_is_named_and_can_be_forgotten(column: str, value: str, tmp_path: Path) -> None:
    home = Home(tmp_path)
    with Store(home.database) as store:
        keep_question(store, _answered("f"))
        store.db.table("kept_questions").update(1, {column: value})
        with pytest.raises(ConselfError, match="question 1 is damaged") as raised:
            load_questions(store)
        assert "conself forget 1" in raised.value.hint
        forget_questions(store, home, find_traces(store, 1))
        assert load_questions(store) == []


def _start_round(store: Store, problems: list[Problem], settings: Settings = LAPTOP) -> int:
    return store.start_round(
        seed=0, settings=settings, model_path=Path("/m.gguf"), model_sha256="abc", template_hash="0",
        base_adapter_id=None, versions={}, request={}, problems=problems,
    ).id  # fmt: skip


def _sample(store: Store, round_id: int, problem: Problem) -> None:
    """Store one sample with its program, execution, prompt, metrics and pair."""
    prompt = store.ensure_prompt(problem.statement, [1, 2])
    store.set_plain_prompt(round_id, problem.id, prompt)
    store.insert_observations(round_id, problem.id, [problem.statement], 1)
    program = store.ensure_program(problem, f"# {problem.statement}")
    key = f"{round_id}/{problem.id}/0/0"
    store.insert_sample(
        {
            "id": key, "round_id": round_id, "problem_id": problem.id, "observation": 0, "number": 0,
            "prompt_id": prompt, "program_id": program, "text": problem.statement, "token_ids": "[7]",
            "finish": "stop", "seed": 0,
        }
    )  # fmt: skip
    store.db.table("sample_scores").insert({"round_id": round_id, "sample_id": key, "cluster": 0, "consensus": 1.0})
    store.db.table("pairs").insert(
        {
            "id": key, "round_id": round_id, "problem_id": problem.id, "position": 0, "chosen_id": key,
            "rejected_id": key, "prompt_id": prompt, "weight": 1.0,
        }
    )  # fmt: skip
    if store.value("select 1 from executions where program_id = ?", program):
        return
    execution = {"program_id": program, "limits": "x", "load_status": "ok", "load_detail": "", "compiled": 1}
    store.insert_execution(execution | {"wall_s": 0, "cpu_s": 0}, [("ok", f"'{problem.statement}'", "")] * 2)


def _adapter(store: Store, name: str, round_id: int, parent: int | None = None) -> int:
    row = {"name": name, "round_id": round_id, "parent_id": parent, "peft_path": "p", "path": "g"}
    return store.insert_adapter(row | {"sha256": "0", "model_sha256": "abc"})


def _word(question: str, code: str = f"# {SECRET}") -> UserAnswer:
    return UserAnswer(
        question=question, entry_point="f", input="(1,)", codes=(code, "b"), outputs=("1", "2"), choice="a",
        model_sha256="abc", prompt_token_ids=(1,), token_ids=((2,), (3,)),
    )  # fmt: skip


def test_forgetting_deletes_a_question_everywhere_and_names_the_adapters_it_trained(tmp_path: Path) -> None:
    """Even the freed pages of the file no longer hold the text: a deleted row would be readable there."""
    home = Home(tmp_path)
    with Store(home.database) as store:
        keep_question(store, _answered("f"))
        keep_question(store, _answered("g", "Write g, which returns a peacock."))
        mine, other = (one.problem for one in load_questions(store))
        insert_user_answer(store, _word(load_question(store, 1).question))
        insert_user_answer(store, _word("Another question.", "a"))
        trained, untouched = _start_round(store, [mine, other]), _start_round(store, [other])
        for round_id, problem in ((trained, mine), (trained, other), (untouched, other)):
            _sample(store, round_id, problem)
        first = _adapter(store, "first", trained)
        child = _adapter(store, "child", untouched, first)
        for round_id in (trained, untouched):
            home.training_folder(round_id).mkdir(parents=True)
            (home.training_folder(round_id) / "job.json").write_text(SECRET)
        edited_file(home, 1).write_text(SECRET)
        traces = find_traces(store, 1)
        assert [row["id"] for row in traces.adapters] == [first, child] and traces.rounds == (trained,)
        forget_questions(store, home, traces)
        assert [one.number for one in load_questions(store)] == [2]
        assert [one.question for one in load_user_answers(store)] == ["Another question."]
        assert store.value("select count(*) from samples") == 2 and store.value("select count(*) from programs") == 1
        assert not [found for found in verify_store(store) if "missing row" in found]
    assert not home.training_folder(trained).exists() and home.training_folder(untouched).exists()
    raw = b"".join(path.read_bytes() for path in tmp_path.glob("conself.db*"))
    assert b"peacock" in raw and raw.count(SECRET.encode()) == 0
    assert not edited_file(home, 1).exists()


def test_all_questions_and_words_are_forgotten_and_an_empty_round_is_abandoned(tmp_path: Path) -> None:
    home = Home(tmp_path)
    with Store(home.database) as store:
        keep_question(store, _answered("f"))
        insert_user_answer(store, _word("Asked while keeping was off."))
        round_id = _start_round(store, [load_question(store, 1).problem])
        forget_questions(store, home, find_traces(store, None))
        assert (load_questions(store), load_user_answers(store)) == ([], [])
        assert store.round(round_id).state == "abandoned" and store.value("select count(*) from problems") == 0
        with pytest.raises(ConselfError, match="no question 1"):
            find_traces(store, 1)


@pytest.mark.parametrize(("weight", "named"), [(0.0, 0), (0.5, 1)])
def test_an_adapter_is_named_if_the_users_word_had_weight_in_its_round(
    weight: float, named: int, tmp_path: Path
) -> None:
    with Store(tmp_path / "conself.db") as store:
        keep_question(store, _answered("f"))
        insert_user_answer(store, _word(load_question(store, 1).question))
        round_id = _start_round(store, [], change_settings(LAPTOP, {"pairs.user_weight": weight}))
        _adapter(store, "first", round_id)
        assert len(find_traces(store, 1).adapters) == named


def test_a_question_that_is_left_out_is_taken_again(tmp_path: Path) -> None:
    with Store(tmp_path / "conself.db") as store:
        keep_question(store, _answered("f"))
        set_taken(store, 1, False)
        assert not load_question(store, 1).is_taken
        set_taken(store, 1, True)
        assert load_question(store, 1).is_taken
        with pytest.raises(ConselfError, match="no question 2"):
            set_taken(store, 2, True)
        assert json.loads(store.value("select votes from kept_questions"))["groups"] == [4]
