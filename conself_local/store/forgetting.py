"""Delete questions of the user everywhere in the store, with all that rounds have made of them.

Deleted are question, problem, inputs, votes, the user's word, and samples, programs, scores and pairs. What is deleted
is overwritten. The weights of an adapter cannot be cleaned, so the adapters that were trained on a question are named.
Not covered: files (`maintenance/forget.py`), backups, and homes of experiments.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from conself_local.errors import ConselfError
from conself_local.store.kept_questions import PREFIX
from conself_local.store.pruning import UNUSED_ROWS, checked_at_end, write_back
from conself_local.store.store import Row, Store

FORGOTTEN = "forgotten"
"""Name in the table `stages` under which a round says that problems were deleted from it."""
_IDS = "(select value from json_each(?))"
_OF_PROBLEMS = (
    f"delete from sample_scores where sample_id in (select id from samples where problem_id in {_IDS})",
    *(
        f"delete from {table} where problem_id in {_IDS}"
        for table in (
            "pairs", "metrics", "observations", "asked_inputs", "grown_inputs", "samples", "evaluation_samples",
            "round_problems",
        )
    ),
    f"delete from executions where program_id in (select id from programs where problem_id in {_IDS})",
    f"delete from programs where problem_id in {_IDS}",
    f"delete from problems where id in {_IDS}",
)  # fmt: skip


@dataclass(frozen=True)
class Traces:
    """Where questions stand in the store, and what was made of them."""

    numbers: tuple[int, ...]
    """The kept questions."""
    words: tuple[int, ...]
    """Ids of the user's own answers to them."""
    problems: tuple[str, ...]
    """Ids of their problems in rounds; an edited question has several."""
    rounds: tuple[int, ...]
    """Rounds that have trained on them, or would."""
    adapters: tuple[Row, ...]
    """Adapters of these rounds, and those that were trained further from them."""


def find_traces(store: Store, number: int | None) -> Traces:
    """Return where one question stands, or all questions for None. Raises ConselfError if there is none."""
    numbers = [row["id"] for row in store.rows("select id from kept_questions order by id")]
    if number is not None and number not in numbers:
        raise ConselfError(f"there is no question {number}", "`conself problems mine` lists your questions")
    wanted = numbers if number is None else [number]
    words = store.rows(
        """select id, model_sha256, created_at_utc from user_answers
           where ? or question in (select question from kept_questions where id = ?) order by id""",
        number is None,
        number,
    )
    problems = [
        row["id"]
        for row in store.rows("select id from problems where substr(id, 1, ?) = ?", len(PREFIX), PREFIX)
        if number is None or row["id"].startswith(f"{PREFIX}{number}-")
    ]
    sql = f"select distinct round_id from round_problems where problem_id in {_IDS}"
    rounds = {row["round_id"] for row in store.rows(sql, json.dumps(problems))} | _rounds_of_words(store, words)
    adapters = tuple(_trained_in(store, rounds))
    return Traces(tuple(wanted), tuple(row["id"] for row in words), tuple(problems), tuple(sorted(rounds)), adapters)


def _rounds_of_words(store: Store, words: Sequence[Row]) -> set[int]:
    """Return the rounds that the user's own answers may have trained: their settings give them weight."""
    found = set()
    for row in store.rows("select id, model_sha256 from rounds where state != 'abandoned'") if words else ():
        begun = [word for word in words if word["model_sha256"] == row["model_sha256"]]
        if not begun or store.round(row["id"]).settings.pairs.user_weight <= 0:
            continue
        ended = store.value("select max(created_at_utc) from adapters where round_id = ?", row["id"])
        if ended is None or any(word["created_at_utc"] <= ended for word in begun):
            found.add(row["id"])
    return found


def _trained_in(store: Store, rounds: set[int]) -> list[Row]:
    """Return the adapters of these rounds, and all that descend from them; an ancestor has the smaller id."""
    found: dict[int, Row] = {}
    for row in store.rows("select id, name, state, round_id, parent_id from adapters order by id"):
        if row["round_id"] in rounds or row["parent_id"] in found:
            found[row["id"]] = row
    return list(found.values())


def forget(store: Store, traces: Traces) -> None:
    """Delete what `traces` names, in one transaction, and overwrite it; the caller holds the lock of the home.

    An unfinished round goes on without the problems, and is abandoned if none is left. Training that is not finished
    begins again. Raises ConselfError, and deletes nothing, if rows of the store point to missing rows.
    """
    store.rows("pragma secure_delete = on")
    try:
        with checked_at_end(store):
            _delete(store, traces)
    finally:
        write_back(store)
        store.rows("pragma secure_delete = off")


def _delete(store: Store, traces: Traces) -> None:
    problems = json.dumps(traces.problems)
    for sql in _OF_PROBLEMS:
        store.db.execute(sql, [problems])
    if traces.problems:
        for sql in UNUSED_ROWS:
            store.db.execute(sql)
    store.db.execute(f"delete from user_answers where id in {_IDS}", [json.dumps(traces.words)])
    store.db.execute(f"delete from kept_questions where id in {_IDS}", [json.dumps(traces.numbers)])
    rounds = json.dumps(traces.rounds)
    store.db.execute(
        f"""delete from training_steps where round_id in {_IDS} and round_id not in (select round_id from adapters)
            and round_id in (select id from rounds where state = 'running')""",
        [rounds],
    )
    store.db.execute(
        f"""update rounds set state = 'abandoned' where id in {_IDS} and state = 'running'
            and id not in (select round_id from round_problems)""",
        [rounds],
    )
    for round_id in traces.rounds:
        store.finish_stage(round_id, FORGOTTEN, "questions of yours were deleted from this round at your wish")
