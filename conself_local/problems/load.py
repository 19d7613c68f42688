"""Reads a problems file of any known format as a stream, record by record; what is broken is named by file, line and field.

`read_problems` is the stream, `load_problems` all of it for a round. Memory is that of one record, but for HumanEval,
whose inputs are recorded in the sandbox some records at a time.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
import tomllib
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from conself_local.errors import ConselfError
from conself_local.problems.formats import by_hand, competition, evalplus, human_eval, mbpp, own
from conself_local.problems.problem import SPLITS, Problem, Split
from sandbox import MakeSandbox

MAX_LINE_CHARACTERS = 16 * 2**20
MAX_PROBLEMS = 1_000_000
_RECORDED_TOGETHER = 256
FIX_HINT = "mend or delete it; `conself problems check` finds all such places, the README shows the formats"
_TOML_HEAD = re.compile(r"^[ \t]*\[\[[ \t]*problem[ \t]*\]\]", re.MULTILINE)

PUBLISHED = {"APPS", "TACO", "LiveCodeBench", "MBPP", "EvalPlus", "HumanEval"}
"""Origins of problems that are not the user's to mend."""

Record = dict[str, Any]


@dataclass(frozen=True)
class Fault:
    """A record that gave no problem."""

    line: int
    why: str
    mendable: bool
    """The user wrote it and can mend it; otherwise it is of a published set and is left out."""


@dataclass(frozen=True)
class LoadedProblems:
    problems: tuple[Problem, ...]
    excluded: tuple[str, ...]
    """What was not taken, and why, one sentence each."""

    def of(self, split: Split) -> list[Problem]:
        return [p for p in self.problems if p.split == split]


def load_starter(splits: Sequence[Split] = SPLITS) -> list[Problem]:
    """The starter pack, written for this project (Apache-2.0)."""
    found = []
    for split in splits:
        found += [own.problem_of(json.loads(line)) for line in _starter_text(split).splitlines() if line.strip()]
    return found


def starter_sha256() -> str:
    """Of the starter pack's files in the order of SPLITS; 64 hex digits."""
    return hashlib.sha256("".join(map(_starter_text, SPLITS)).encode()).hexdigest()


def _starter_text(split: Split) -> str:
    return files("conself_local.problems.starter").joinpath(f"{split}.jsonl").read_text(encoding="utf-8")


def sample_indices(total: int, limit: int, seed: int) -> set[int]:
    """`limit` of 0 .. total - 1, the same ones for a seed: which training problems a limit keeps."""
    return set(random.Random(f"limit/{seed}").sample(range(total), limit))


def load_problems(path: Path, make_sandbox: MakeSandbox) -> LoadedProblems:
    """All problems of a file. Raises ConselfError with file, line and field where the user can mend something."""
    problems: list[Problem] = []
    excluded: list[str] = []
    for one in read_problems(path, make_sandbox):
        if isinstance(one, Problem):
            problems.append(one)
        elif one.mendable:
            raise ConselfError(f"{path}, line {one.line}: {one.why}", FIX_HINT)
        else:
            excluded.append(f"line {one.line}: {one.why}")
    if not problems:
        raise ConselfError(f"{path} holds no problem", "the README shows the formats of a problems file")
    return LoadedProblems(tuple(problems), tuple(excluded))


def read_problems(path: Path, make_sandbox: MakeSandbox) -> Iterator[Problem | Fault]:
    """TOML by hand, or JSON lines: our own, MBPP, HumanEval, EvalPlus, APPS, TACO, LiveCodeBench; plain or .gz.

    Raises ConselfError where the file cannot be read at all.
    """
    if not path.is_file():
        raise ConselfError(f"there is no problems file at {path}", "check the path")
    seen: set[int] = set()
    for line, one in _parsed(path, make_sandbox):
        if isinstance(one, Problem):
            key = hash(one.id)
            if key in seen:
                yield Fault(
                    line, f"the id {one.id!r} stands twice; give every problem its own id", one.origin not in PUBLISHED
                )
                continue
            seen.add(key)
        yield one


def _parsed(path: Path, make_sandbox: MakeSandbox) -> Iterator[tuple[int, Problem | Fault]]:
    """(line, what stands there)"""
    if path.suffix == ".toml":
        for number, (line, record) in enumerate(_toml_records(path), start=1):
            try:
                yield line, by_hand.problem_of(record, path.stem, number)
            except (ValueError, TypeError, KeyError) as error:
                yield line, Fault(line, f"problem {number}: {error}", True)
        return
    for_recorder: list[tuple[int, Record]] = []
    for line, parsed in _records(path):
        if isinstance(parsed, Fault):
            yield line, parsed
        elif human_eval.is_human_eval(parsed) and not evalplus.is_evalplus(parsed):
            for_recorder.append((line, parsed))
            if len(for_recorder) == _RECORDED_TOGETHER:
                yield from _recorded(for_recorder, make_sandbox)
                for_recorder.clear()
        else:
            yield from ((line, one) for one in _of_record(parsed, line))
    if for_recorder:
        yield from _recorded(for_recorder, make_sandbox)


def _of_record(record: Record, line: int) -> Iterator[Problem | Fault]:
    mine = own.is_own(record)
    try:
        if mine:
            yield own.problem_of(record)
        elif evalplus.is_evalplus(record):
            yield evalplus.problem_of(record)
        elif competition.is_competition(record):
            yield competition.problem_of(record, line)
        elif mbpp.is_mbpp(record):
            problem = mbpp.problem_of(record)
            if problem:
                yield problem
        else:
            yield Fault(line, f"no known format has the fields {', '.join(sorted(record))[:200]}", True)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        what = f"the field {error} is missing" if isinstance(error, KeyError) else str(error)
        yield Fault(line, what, mine)


def _recorded(
    records: Sequence[tuple[int, Record]], make_sandbox: MakeSandbox
) -> Iterator[tuple[int, Problem | Fault]]:
    lines = {str(record["task_id"]): line for line, record in records}
    problems, excluded = human_eval.problems_of([record for _, record in records], make_sandbox)
    yield from ((lines[p.id], p) for p in problems)
    for id, why in excluded:
        yield lines[id], Fault(lines[id], f"{id}: {why}", False)


def _toml_records(path: Path) -> Iterator[tuple[int, Record]]:
    """(line of its [[problem]], the table)"""
    try:
        if path.stat().st_size > MAX_LINE_CHARACTERS:
            raise ConselfError(f"{path} is larger than what is taken", "write large sets as JSON lines")
        text = path.read_text(encoding="utf-8")
        tables = tomllib.loads(text).get("problem")
    except (OSError, ValueError, RecursionError) as error:
        raise ConselfError(f"{path} cannot be read: {error}", "mend it; the README shows the format") from error
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise ConselfError(f"{path} has no [[problem]]", "begin every problem with [[problem]]")
    heads = [text.count("\n", 0, match.start()) + 1 for match in _TOML_HEAD.finditer(text)]
    lines = heads if len(heads) == len(tables) else [1] * len(tables)
    yield from zip(lines, tables, strict=True)


def _records(path: Path) -> Iterator[tuple[int, Record | Fault]]:
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
                if line.strip():
                    yield number, _record(line, number)
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise ConselfError(
            f"{path} cannot be read: {error}", "check that the file is whole, and plain text or .gz"
        ) from error


def _record(line: str, number: int) -> Record | Fault:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        return Fault(number, f"no JSON ({error})", True)
    return (
        record
        if isinstance(record, dict)
        else Fault(number, "no JSON object: each line is one problem in braces", True)
    )
