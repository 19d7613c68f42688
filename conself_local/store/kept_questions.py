"""Keep the questions that the user asked, with inputs and votes: they are training problems of later rounds.

They have a table of their own and stay in the home. A problem has no expected output; the user's own words about
outputs are in `user_answers.py`. Not covered: making a problem of a question (`serving/keeping.py`), comparing it with
benchmarks (`round/own_questions.py`), and deleting it (`forgetting.py`).
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass

from conself_local.errors import ConselfError
from conself_local.foreign_files import refusing
from conself_local.problems.formats import own
from conself_local.problems.overlap import Repeats
from conself_local.problems.problem import Problem
from conself_local.store.store import Row, Store, now_utc

MINE = "mine"
"""Stands for these questions where a problems file is named."""
PREFIX = f"{MINE}/"
"""The beginning of the ids of these problems."""
_KEEPING = "keep questions"
"""Name in the table `choices`."""
_LIST_HINT = "`conself problems mine` lists your questions"


@dataclass(frozen=True)
class Votes:
    """How the sampled programs of a question voted; all 0 for an answer that was not compared."""

    verdict: str = "single"
    agree: int = 0
    """Programs that behave as the one that was shown."""
    sampled: int = 0
    groups: tuple[int, ...] = ()
    """Sizes of the groups of equal behaviour, the largest first."""


@dataclass(frozen=True)
class AnsweredQuestion:
    """A question that has been answered: what was asked, and the problem and the votes that came of it."""

    question: str
    problem: Problem
    """Its id is replaced when it is stored."""
    votes: Votes


@dataclass(frozen=True, kw_only=True)
class KeptQuestion:
    """A stored question."""

    number: int
    question: str
    """What the user asked, word for word."""
    problem: Problem
    votes: Votes
    is_taken: bool
    """Whether the user lets it train."""
    is_edited: bool
    created_at_utc: str


def keeps_questions(store: Store) -> bool:
    """Return whether questions of this home are kept, as they are unless the user has turned it off."""
    return store.value("select value from choices where name = ?", _KEEPING) != "off"


def set_keeping(store: Store, on: bool) -> None:
    """Turn the keeping of questions on or off; what is kept stays."""
    store.db.table("choices").upsert({"name": _KEEPING, "value": "on" if on else "off"}, pk="name")


def keep_question(store: Store, answered: AnsweredQuestion) -> int | None:
    """Store an answered question and return its number; None if the user has turned keeping off.

    A question that was asked before keeps its number and gets the new votes, and the new problem unless it was edited.
    One that says the same as an earlier one is not stored again; the number of the earlier one is returned.
    """
    with store.transaction():
        if not keeps_questions(store):
            return None
        known = load_questions(store)
        same = next((one for one in known if one.question == answered.question), None)
        if same is not None:
            _update(store, same, answered)
            return same.number
        if earlier := _earlier(known, answered.problem):
            return earlier
        number = int(store.value("select coalesce(max(id), 0) + 1 from kept_questions"))
        store.db.table("kept_questions").insert(
            {
                "id": number,
                "question": answered.question,
                "problem": _problem_text(answered.problem),
                "votes": _votes_text(answered.votes),
                "created_at_utc": now_utc(),
            }
        )
        return number


def _update(store: Store, same: KeptQuestion, answered: AnsweredQuestion) -> None:
    problem = {} if same.is_edited else {"problem": _problem_text(answered.problem)}
    values = {"votes": _votes_text(answered.votes), "created_at_utc": now_utc()}
    store.db.table("kept_questions").update(same.number, problem | values)


def _earlier(known: list[KeptQuestion], problem: Problem) -> int | None:
    """Return the number of the question that a problem repeats."""
    numbers, repeats = {}, Repeats()
    for one in known:
        numbers[one.problem.id] = one.number
        repeats.find_earlier(one.problem)
    return numbers.get(repeats.find_earlier(problem) or "")


def load_questions(store: Store) -> list[KeptQuestion]:
    """Return all questions, the oldest first. Raises ConselfError if one is damaged."""
    return [_of_row(row) for row in store.rows("select * from kept_questions order by id")]


def load_question(store: Store, number: int) -> KeptQuestion:
    """Return one question. Raises ConselfError if there is none with this number, or it is damaged."""
    found = store.rows("select * from kept_questions where id = ?", number)
    if not found:
        raise ConselfError(f"there is no question {number}", _LIST_HINT)
    return _of_row(found[0])


def change_problem(store: Store, number: int, problem: Problem) -> None:
    """Replace the problem of a question by the one that the user has written.

    Raises ConselfError if there is no such question, or if another question says the same.
    """
    with store.transaction():
        load_question(store, number)
        others = [one for one in load_questions(store) if one.number != number]
        if earlier := _earlier(others, dataclasses.replace(problem, id=f"{PREFIX}edited")):
            raise ConselfError(f"your question {earlier} says the same", f"change that one: --edit {earlier}")
        store.db.table("kept_questions").update(number, {"problem": _problem_text(problem), "edited": 1})


def set_taken(store: Store, number: int, taken: bool) -> None:
    """Let a question train, or leave it out. Raises ConselfError if there is none with this number."""
    load_question(store, number)
    store.db.table("kept_questions").update(number, {"taken": int(taken)})


def _of_row(row: Row) -> KeptQuestion:
    with refusing(f"your stored question {row['id']} is damaged", f"delete it: conself forget {row['id']}"):
        problem = own.problem_of(json.loads(row["problem"]))
        if problem.split != "train":
            raise ValueError("its problem is not one to train on")
        votes = json.loads(row["votes"])
        counts = (votes["agree"], votes["sampled"], *votes["groups"])
        if not isinstance(votes["verdict"], str) or not all(type(count) is int for count in counts):
            raise ValueError("its votes must be whole numbers")
        return KeptQuestion(
            number=row["id"],
            question=row["question"],
            # the id names the content, so that an edited problem is another one for rounds
            problem=dataclasses.replace(problem, id=f"{PREFIX}{row['id']}-{problem.content_hash()[:8]}"),
            votes=Votes(votes["verdict"], votes["agree"], votes["sampled"], tuple(votes["groups"])),
            is_taken=bool(row["taken"]),
            is_edited=bool(row["edited"]),
            created_at_utc=row["created_at_utc"],
        )


def _problem_text(problem: Problem) -> str:
    return json.dumps(own.record_of(problem))


def _votes_text(votes: Votes) -> str:
    return json.dumps(dataclasses.asdict(votes))
