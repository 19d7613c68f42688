"""Reads a problems file of any known format, line by line; a broken line is named by its number."""

from __future__ import annotations

import json
import tomllib
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

from conself_local.errors import ConselfError
from conself_local.problems.formats import by_hand, competition, evalplus, human_eval, mbpp, own
from conself_local.problems.problem import SPLITS, Problem, Split
from sandbox import MakeSandbox

MAX_LINE_CHARACTERS = 16 * 2**20
MAX_PROBLEMS = 200_000


@dataclass(frozen=True)
class LoadedProblems:
    problems: tuple[Problem, ...]
    left_out: tuple[str, ...]
    """What was not taken, and why, one sentence each."""

    def of(self, split: Split) -> list[Problem]:
        return [p for p in self.problems if p.split == split]


def load_starter(splits: Sequence[Split] = SPLITS) -> list[Problem]:
    """The starter pack, written for this project (Apache-2.0)."""
    found = []
    for split in splits:
        text = files("conself_local.problems.starter").joinpath(f"{split}.jsonl").read_text(encoding="utf-8")
        found += [own.problem_of(json.loads(line)) for line in text.splitlines() if line.strip()]
    return found


def load_problems(path: Path, make_sandbox: MakeSandbox) -> LoadedProblems:
    """TOML by hand, or JSON lines: our own, MBPP, HumanEval, EvalPlus, APPS, TACO, LiveCodeBench; plain or .gz.

    Raises ConselfError with file, line and field.
    """
    problems: list[Problem] = []
    left_out: list[str] = []
    for_recorder: list[dict[str, Any]] = []
    by_hand_file = path.suffix == ".toml"
    for number, record in _toml_records(path) if by_hand_file else _records(path):
        try:
            if by_hand_file:
                problems.append(by_hand.problem_of(record, path.stem, number))
            elif own.is_own(record):
                problems.append(own.problem_of(record))
            elif evalplus.is_evalplus(record):
                problems += _or_left_out(partial(evalplus.problem_of, record), number, left_out)
            elif competition.is_competition(record):
                problems += _or_left_out(partial(competition.problem_of, record, number), number, left_out)
            elif human_eval.is_human_eval(record):
                for_recorder.append(record)
            elif mbpp.is_mbpp(record):
                problems += _or_left_out(partial(mbpp.problem_of, record), number, left_out)
            else:
                raise ValueError(f"no known format has the fields {', '.join(sorted(record))[:200]}")
        except (ValueError, TypeError, KeyError) as error:
            raise ConselfError(
                f"{path}, {'problem' if by_hand_file else 'line'} {number}: {error}", "mend or delete it; the README shows the format"
            ) from error
    if for_recorder:
        recorded, unrecorded = human_eval.problems_of(for_recorder, make_sandbox)
        problems += recorded
        left_out += unrecorded
    ids = [p.id for p in problems]
    if len(set(ids)) < len(ids):
        twice = next(i for i in ids if ids.count(i) > 1)
        raise ConselfError(f"{path}: the id {twice!r} stands twice", "give every problem its own id")
    if not problems:
        raise ConselfError(f"{path} holds no problem", "the README shows the format of a problems file")
    return LoadedProblems(tuple(problems), tuple(left_out))


def _or_left_out(read: Callable[[], Problem | None], number: int, left_out: list[str]) -> list[Problem]:
    """A problem of a published set that cannot be used is left out and told; it is not the user's to mend."""
    try:
        problem = read()
    except (ValueError, TypeError, KeyError) as error:
        left_out.append(f"line {number}: {error}")
        return []
    return [problem] if problem else []


def _toml_records(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """(number of the problem, its table)"""
    try:
        if path.stat().st_size > MAX_LINE_CHARACTERS:
            raise ConselfError(f"{path} is larger than what is taken", "write large sets as JSON lines")
        tables = tomllib.loads(path.read_text(encoding="utf-8")).get("problem")
    except FileNotFoundError:
        raise ConselfError(f"there is no problems file at {path}", "check the path") from None
    except (OSError, ValueError, RecursionError) as error:
        raise ConselfError(f"{path} cannot be read: {error}", "mend it; the README shows the format") from error
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise ConselfError(f"{path} has no [[problem]]", "begin every problem with [[problem]]")
    yield from enumerate(tables, start=1)


def _records(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    if not path.is_file():
        raise ConselfError(f"there is no problems file at {path}", "check the path")
    try:
        with human_eval.open_text(path) as file:
            number = 0
            while line := file.readline(MAX_LINE_CHARACTERS + 1):
                number += 1
                if len(line) > MAX_LINE_CHARACTERS or number > MAX_PROBLEMS:
                    raise ConselfError(
                        f"{path}, line {number}: the file is larger than what is taken",
                        f"at most {MAX_LINE_CHARACTERS} characters a line and {MAX_PROBLEMS} lines",
                    )
                if not line.strip():
                    continue
                try:
                    record = json.loads(line)
                except (json.JSONDecodeError, RecursionError) as error:
                    raise ConselfError(f"{path}, line {number}: no JSON ({error})", "mend or delete that line") from error
                if not isinstance(record, dict):
                    raise ConselfError(f"{path}, line {number}: no JSON object", "each line is one problem in braces")
                yield number, record
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise ConselfError(f"{path} cannot be read: {error}", "check that the file is whole, and plain text or .gz") from error
