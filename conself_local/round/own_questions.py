"""Decide which of the user's own questions train, and check a problem that the user has edited.

Those train that are taken, repeat no other, and are in no benchmark. They are compared with the starter pack's
validation and held-out problems and with HumanEval, whichever of them a round is evaluated on; a round compares them
with the benchmarks of its own problems file too (`start.py`).
Not covered: storing the questions (`store/kept_questions.py`).
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from conself_local.errors import ConselfError
from conself_local.problems.formats.human_eval import is_human_eval, packaged_file, texts_of
from conself_local.problems.load import load_starter, read_problems
from conself_local.problems.overlap import Overlap, Repeats, exclusion_reason
from conself_local.problems.problem import Problem
from conself_local.problems.records import Fault, json_records
from conself_local.problems.runnable import first_lines_that_fail
from conself_local.store.kept_questions import KeptQuestion, load_questions
from conself_local.store.store import Store
from sandbox import MakeSandbox

LEFT_OUT = "left out by you"


@dataclass(frozen=True)
class OwnQuestion:
    """One kept question, and why it does not train; an empty reason if it does."""

    kept: KeptQuestion
    exclusion_reason: str


def compare_questions(questions: Sequence[KeptQuestion]) -> list[OwnQuestion]:
    """Return the questions in their order, each with the reason why it does not train."""
    overlap, repeats, found = Overlap(_benchmark_problems() if questions else ()), Repeats(), []
    for kept in questions:
        excluded = exclusion_reason(kept.problem, overlap, repeats) if kept.is_taken else ("", LEFT_OUT)
        found.append(OwnQuestion(kept, excluded[1] if excluded else ""))
    return found


def _benchmark_problems() -> list[Problem]:
    found = load_starter(("validation", "held-out"))
    with contextlib.suppress(ConselfError):  # if HumanEval is not installed, no round is evaluated on it
        records = (record for _, record in json_records(packaged_file()))
        found += texts_of(one for one in records if not isinstance(one, Fault) and is_human_eval(one))
    return found


def own_problems(store: Store) -> tuple[list[Problem], list[str]]:
    """Return the problems of the user's questions that train, and one sentence for each that is excluded.

    Those that the user has left out have no sentence.
    """
    compared = compare_questions(load_questions(store))
    train = [one.kept.problem for one in compared if not one.exclusion_reason]
    return train, [one.exclusion_reason for one in compared if one.exclusion_reason not in ("", LEFT_OUT)]


def read_edited(path: Path, before: Problem, make_sandbox: MakeSandbox) -> Problem:
    """Return the one problem of a TOML file that the user has edited, with id and origin of the one before.

    Raises ConselfError that names line and field if it is no training problem that can be used.
    """
    hint = "the problem was left as it was; edit again to correct your text"
    found = list(read_problems(path, make_sandbox))
    if len(found) != 1:
        raise ConselfError(f"{path} holds {len(found)} problems instead of one", hint)
    (one,) = found
    if isinstance(one, Fault):
        raise ConselfError(f"{path}, line {one.line}: {one.why}", hint)
    if one.split != "train":
        raise ConselfError(f"{path}: split must be train, not {one.split}: your questions train", hint)
    for why in first_lines_that_fail([one], make_sandbox).values():
        raise ConselfError(f"{path}: {why}", hint)
    return dataclasses.replace(one, id=before.id, origin=before.origin)
