"""Read a problems file of any known format, and name what is broken in it by file, line and field.

`read_problems` yields one record at a time; `load_problems` returns the whole file for a round. `read_problems` keeps
only one record in memory, except for HumanEval and EvalPlus, whose references run in the sandbox 256 records at a time.
Not covered: reading the records themselves (`records.py`), and excluding repeated problems and those of a benchmark
(`overlap.py`).
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path

from conself_local.errors import ConselfError
from conself_local.foreign_files import PARSER_ERRORS
from conself_local.foreign_text import is_one_line
from conself_local.problems.formats import by_hand, competition, evalplus, human_eval, leetcode, mbpp, own
from conself_local.problems.formats.fields import error_text
from conself_local.problems.problem import SPLITS, Problem, Split
from conself_local.problems.records import Fault, Record, json_records, toml_records
from conself_local.problems.runnable import references_that_fail
from conself_local.problems.statements import WITH_OUTPUTS, without_outputs
from sandbox import MakeSandbox
from sandbox.values import UnusableInputError

_RUN_TOGETHER = 256
"""HumanEval and EvalPlus records that run in one sandbox."""
_CHARACTERS_TOGETHER = 16_000_000
"""Characters in the records that run in one sandbox."""
FIX_HINT = (
    "fix or delete this record; `conself problems check` lists all of them, `conself_local/README.md` shows the formats"
)

PUBLISHED = {"APPS", "TACO", "LiveCodeBench", "LeetCodeDataset", "MBPP", "EvalPlus", "HumanEval"}
"""Origins of published problems, which the user is not asked to fix."""
RUN_BY_READER = {"EvalPlus", "HumanEval"}
"""Origins of problems whose references have run when they have been read."""
_FIELDS: dict[str, frozenset[str]] = {
    "APPS": competition.FIELDS,
    "EvalPlus": evalplus.FIELDS,
    "HumanEval": human_eval.FIELDS,
    "LeetCodeDataset": leetcode.FIELDS,
    "LiveCodeBench": competition.BENCH_FIELDS,
    "MBPP": mbpp.FIELDS,
    "this project": own.FIELDS,
}
"""Fields by which the formats are recognised."""


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
        first = f" that can be used: {excluded[0]}" if excluded else ""
        raise ConselfError(f"{path} contains no problem{first}", "`conself_local/README.md` shows the formats")
    return LoadedProblems(tuple(problems), tuple(excluded))


def read_problems(path: Path, make_sandbox: MakeSandbox, *, keep_examples: bool = False) -> Iterator[Problem | Fault]:
    """Yield the problem of each record, or its fault; a repeated id is a fault too.

    The statements of published training problems lose the expected outputs of their examples, or keep them with
    `keep_examples`, and the origin says so. What the user wrote stays as it is.

    Formats: TOML written by hand, or JSON lines, JSON or Parquet: the project's own format, MBPP, HumanEval, EvalPlus,
    APPS, TACO, LiveCodeBench, LeetCodeDataset. Raises ConselfError if the file cannot be read at all.
    """
    if not path.exists():
        raise ConselfError(f"there is no problems file at {path}", "check the path")
    seen: set[int] = set()
    for line, one in _parsed(path, make_sandbox):
        if isinstance(one, Problem):
            fixable = one.origin not in PUBLISHED
            if not is_one_line(one.id):
                yield Fault(line, f"the id {one.id!r} holds control characters; give the problem another id", fixable)
                continue
            key = hash(one.id)
            if key in seen:
                yield Fault(line, f"the id {one.id!r} is used twice; give every problem a different id", fixable)
                continue
            seen.add(key)
            if one.split == "train" and one.origin in PUBLISHED:
                one = _without_outputs(one, keep_examples)
        yield one


def _without_outputs(problem: Problem, keep_examples: bool) -> Problem:
    statement = without_outputs(problem.statement, problem.entry_point.rpartition(".")[2])
    if statement == problem.statement or not statement.strip():
        return problem
    if keep_examples:
        return replace(problem, origin=f"{problem.origin}{WITH_OUTPUTS}")
    return replace(problem, statement=statement)


def _parsed(path: Path, make_sandbox: MakeSandbox) -> Iterator[tuple[int, Problem | Fault]]:
    """Yield (line, problem or fault) for each record."""
    if path.suffix.lower() == ".toml":
        for number, (line, table) in enumerate(toml_records(path), start=1):
            try:
                yield line, by_hand.problem_of(table, path.stem, number)
            except PARSER_ERRORS as error:
                fixable = not isinstance(error, UnusableInputError)
                yield line, Fault(line, f"problem {number}: {error_text(error)}", fixable)
        return
    together: list[tuple[int, Record]] = []
    characters = 0
    for line, record in json_records(path):
        if not isinstance(record, Fault) and _needs_sandbox(record):
            together.append((line, record))
            characters += sum(len(str(value)) for value in record.values())
            if len(together) == _RUN_TOGETHER or characters > _CHARACTERS_TOGETHER:
                yield from _run(together, make_sandbox)
                together.clear()
                characters = 0
        else:
            one = record if isinstance(record, Fault) else _of_record(record, line)
            if one:
                yield line, one
    if together:
        yield from _run(together, make_sandbox)


def _needs_sandbox(record: Record) -> bool:
    return not own.is_own(record) and (evalplus.is_evalplus(record) or human_eval.is_human_eval(record))


def _of_record(record: Record, line: int) -> Problem | Fault | None:
    """Return the problem of a record, or its fault; None for one that is no problem, as MBPP's examples."""
    is_own = own.is_own(record)
    try:
        if is_own:
            return own.problem_of(record)
        if evalplus.is_evalplus(record):
            return evalplus.problem_of(record)
        if leetcode.is_leetcode(record):
            return leetcode.problem_of(record)
        if competition.is_competition(record):
            return competition.problem_of(record, line)
        if mbpp.is_mbpp(record):
            return mbpp.problem_of(record)
    except UnusableInputError as error:
        return Fault(line, str(error), False)
    except PARSER_ERRORS as error:
        return Fault(line, error_text(error), is_own)
    return Fault(line, *_unknown(record))


def _unknown(record: Record) -> tuple[str, bool]:
    """Return why a record is of no known format, and whether the user is asked to fix it."""
    if "tests" in record and "language" in record:
        return "it is of MultiPL-E, whose problems have tests and no reference solution", False
    unknown = f"no known format has the fields {', '.join(sorted(record))[:200]}"
    for name, value in record.items():
        if len(record) <= 3 and isinstance(value, list) and value and isinstance(value[0], dict):
            return f"{unknown}; save the list {name[:40]!r} itself as a JSON array, or as JSON lines", True
    found = [(len(fields - set(record)), name, fields - set(record)) for name, fields in _FIELDS.items()]
    missing, name, fields = min(found, key=lambda one: one[:2])
    if missing < len(_FIELDS[name]) and missing <= 2:
        return f"{unknown}; of {name}, the field {' and '.join(sorted(fields))} is missing", name not in PUBLISHED
    return unknown, True


def _run(records: Sequence[tuple[int, Record]], make_sandbox: MakeSandbox) -> Iterator[tuple[int, Problem | Fault]]:
    """Yield the problems of published records whose references run first: to record inputs, or to see that they do."""
    to_record = [record for _, record in records if not evalplus.is_evalplus(record)]
    recorded = iter(human_eval.problems_of(to_record, make_sandbox))
    found: list[tuple[int, Problem | Fault | None]] = []
    for line, record in records:
        if evalplus.is_evalplus(record):
            found.append((line, _of_record(record, line)))
        else:
            one = next(recorded)
            name = str(record["task_id"])[:100]
            found.append((line, one if isinstance(one, Problem) else Fault(line, f"{name}: {one}", False)))
    failing = references_that_fail(
        [one for _, one in found if isinstance(one, Problem) and one.origin == "EvalPlus"], make_sandbox
    )
    for line, problem in found:
        if isinstance(problem, Problem) and problem.id in failing:
            yield line, Fault(line, f"{problem.id}: {failing[problem.id]}", False)
        elif problem:
            yield line, problem
