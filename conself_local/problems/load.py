"""Reads a problems file of any known format, and names what is broken in it by file, line and field.

`read_problems` yields one record at a time; `load_problems` returns the whole file for a round. `read_problems` keeps
only one record in memory, except for HumanEval, whose inputs are recorded in the sandbox 256 records at a time.
Not done here: excluding repeated problems and those of a benchmark (`overlap.py`).
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
from sandbox.values import UnusableInputError

MAX_LINE_CHARACTERS = 16 * 2**20
MAX_PROBLEMS = 1_000_000
_RECORDED_TOGETHER = 256
"""HumanEval records that run in one sandbox."""
FIX_HINT = (
    "fix or delete this record; `conself problems check` lists all of them, `conself_local/README.md` shows the formats"
)
_TOML_HEAD = re.compile(r"^[ \t]*\[\[[ \t]*problem[ \t]*\]\]", re.MULTILINE)

PUBLISHED = {"APPS", "TACO", "LiveCodeBench", "MBPP", "EvalPlus", "HumanEval"}
"""Origins of published problems, which the user is not asked to fix."""

Record = dict[str, Any]


@dataclass(frozen=True)
class Fault:
    """A record that gives no problem, and the reason."""

    line: int
    why: str
    fixable: bool
    """True if the user wrote the record and can fix it; False if it is from a published set and is excluded."""


@dataclass(frozen=True)
class LoadedProblems:
    """The problems of a file, and what was excluded."""

    problems: tuple[Problem, ...]
    excluded: tuple[str, ...]
    """One sentence per excluded record: its line and the reason."""

    def of(self, split: Split) -> list[Problem]:
        """Return the problems of one split, in the order of the file."""
        return [p for p in self.problems if p.split == split]


def load_starter(splits: Sequence[Split] = SPLITS) -> list[Problem]:
    """Return the starter pack's problems of these splits; they were written for this project (Apache-2.0)."""
    found = []
    for split in splits:
        found += [own.problem_of(json.loads(line)) for line in _starter_text(split).splitlines() if line.strip()]
    return found


def starter_sha256() -> str:
    """Return the hash of the starter pack's files in the order of SPLITS, 64 hex digits."""
    return hashlib.sha256("".join(map(_starter_text, SPLITS)).encode()).hexdigest()


def _starter_text(split: Split) -> str:
    return files("conself_local.problems.starter").joinpath(f"{split}.jsonl").read_text(encoding="utf-8")


def sample_indices(total: int, limit: int, seed: int) -> set[int]:
    """Draw `limit` indices from 0 .. total - 1, the same for a seed: the training problems that a limit keeps."""
    return set(random.Random(f"limit/{seed}").sample(range(total), limit))


def load_problems(path: Path, make_sandbox: MakeSandbox) -> LoadedProblems:
    """Return all problems of a file.

    Raises ConselfError with file, line and field for a record that the user can fix, or if the file has no problem.
    """
    problems: list[Problem] = []
    excluded: list[str] = []
    for one in read_problems(path, make_sandbox):
        if isinstance(one, Problem):
            problems.append(one)
        elif one.fixable:
            raise ConselfError(f"{path}, line {one.line}: {one.why}", FIX_HINT)
        else:
            excluded.append(f"line {one.line}: {one.why}")
    if not problems:
        raise ConselfError(f"{path} contains no problem", "`conself_local/README.md` shows the formats")
    return LoadedProblems(tuple(problems), tuple(excluded))


def read_problems(path: Path, make_sandbox: MakeSandbox) -> Iterator[Problem | Fault]:
    """Yield the problem of each record, or its fault; a repeated id is a fault too.

    Formats: TOML written by hand, or JSON lines, plain or .gz: the project's own format, MBPP, HumanEval, EvalPlus,
    APPS, TACO, LiveCodeBench. Raises ConselfError if the file cannot be read at all.
    """
    if not path.is_file():
        raise ConselfError(f"there is no problems file at {path}", "check the path")
    seen: set[int] = set()
    for line, one in _parsed(path, make_sandbox):
        if isinstance(one, Problem):
            key = hash(one.id)
            if key in seen:
                yield Fault(
                    line,
                    f"the id {one.id!r} is used twice; give every problem a different id",
                    one.origin not in PUBLISHED,
                )
                continue
            seen.add(key)
        yield one


def _parsed(path: Path, make_sandbox: MakeSandbox) -> Iterator[tuple[int, Problem | Fault]]:
    """Yield (line, problem or fault) for each record."""
    if path.suffix == ".toml":
        for number, (line, record) in enumerate(_toml_records(path), start=1):
            try:
                yield line, by_hand.problem_of(record, path.stem, number)
            except (ValueError, TypeError, KeyError) as error:
                fixable = not isinstance(error, UnusableInputError)
                yield line, Fault(line, f"problem {number}: {error}", fixable)
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
    is_own = own.is_own(record)
    try:
        if is_own:
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
    except UnusableInputError as error:
        yield Fault(line, str(error), False)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        reason = f"the field {error} is missing" if isinstance(error, KeyError) else str(error)
        yield Fault(line, reason, is_own)


def _recorded(
    records: Sequence[tuple[int, Record]], make_sandbox: MakeSandbox
) -> Iterator[tuple[int, Problem | Fault]]:
    lines = {str(record["task_id"]): line for line, record in records}
    problems, excluded = human_eval.problems_of([record for _, record in records], make_sandbox)
    yield from ((lines[p.id], p) for p in problems)
    for id, why in excluded:
        yield lines[id], Fault(lines[id], f"{id}: {why}", False)


def _toml_records(path: Path) -> Iterator[tuple[int, Record]]:
    """Yield (line of the table's `[[problem]]`, table); line 1 if the lines cannot be found."""
    try:
        if path.stat().st_size > MAX_LINE_CHARACTERS:
            raise ConselfError(
                f"{path} is larger than {MAX_LINE_CHARACTERS >> 20} MiB", "write large sets as JSON lines"
            )
        text = path.read_text(encoding="utf-8")
        tables = tomllib.loads(text).get("problem")
    except (OSError, ValueError, RecursionError) as error:
        raise ConselfError(
            f"{path} cannot be read: {error}", "fix it; `conself_local/README.md` shows the format"
        ) from error
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
                        f"{path}, line {number}: this line or the whole file is too long",
                        f"a file may have at most {MAX_LINE_CHARACTERS} characters per line and {MAX_PROBLEMS} lines",
                    )
                if line.strip():
                    yield number, _record(line, number)
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise ConselfError(
            f"{path} cannot be read: {error}", "check that the file is complete, and plain text or .gz"
        ) from error


def _record(line: str, number: int) -> Record | Fault:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        return Fault(number, f"not valid JSON ({error})", True)
    return (
        record
        if isinstance(record, dict)
        else Fault(number, "not a JSON object: each line must be one problem in braces", True)
    )
