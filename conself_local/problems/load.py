"""Read a problems file of any known format, and name what is broken in it by file, line and field.

`read_problems` yields one record at a time; `load_problems` returns the whole file for a round. `read_problems` keeps
only one record in memory, except for HumanEval, whose inputs are recorded in the sandbox 256 records at a time.
Not covered: reading the records themselves (`records.py`), and excluding repeated problems and those of a benchmark
(`overlap.py`).
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from conself_local.errors import ConselfError
from conself_local.foreign_files import PARSER_ERRORS, reason
from conself_local.foreign_text import is_one_line
from conself_local.problems.formats import by_hand, competition, evalplus, human_eval, mbpp, own
from conself_local.problems.problem import SPLITS, Problem, Split
from conself_local.problems.records import Fault, Record, json_records, toml_records
from sandbox import MakeSandbox
from sandbox.values import UnusableInputError

_RECORDED_TOGETHER = 256
"""HumanEval records that run in one sandbox."""
_CHARACTERS_TOGETHER = 16_000_000
"""Characters of code in the HumanEval records that run in one sandbox."""
FIX_HINT = (
    "fix or delete this record; `conself problems check` lists all of them, `conself_local/README.md` shows the formats"
)

PUBLISHED = {"APPS", "TACO", "LiveCodeBench", "MBPP", "EvalPlus", "HumanEval"}
"""Origins of published problems, which the user is not asked to fix."""


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
        yield one


def _parsed(path: Path, make_sandbox: MakeSandbox) -> Iterator[tuple[int, Problem | Fault]]:
    """Yield (line, problem or fault) for each record."""
    if path.suffix == ".toml":
        for number, (line, table) in enumerate(toml_records(path), start=1):
            try:
                yield line, by_hand.problem_of(table, path.stem, number)
            except PARSER_ERRORS as error:
                fixable = not isinstance(error, UnusableInputError)
                yield line, Fault(line, f"problem {number}: {reason(error)}", fixable)
        return
    to_record: list[tuple[int, Record]] = []
    characters = 0
    for line, record in json_records(path):
        if isinstance(record, Fault):
            yield line, record
        elif human_eval.is_human_eval(record) and not evalplus.is_evalplus(record):
            to_record.append((line, record))
            characters += sum(len(str(value)) for value in record.values())
            if len(to_record) == _RECORDED_TOGETHER or characters > _CHARACTERS_TOGETHER:
                yield from _recorded(to_record, make_sandbox)
                to_record.clear()
                characters = 0
        else:
            yield from ((line, one) for one in _of_record(record, line))
    if to_record:
        yield from _recorded(to_record, make_sandbox)


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
    except PARSER_ERRORS as error:
        yield Fault(line, f"the field {error} is missing" if isinstance(error, KeyError) else reason(error), is_own)


def _recorded(
    records: Sequence[tuple[int, Record]], make_sandbox: MakeSandbox
) -> Iterator[tuple[int, Problem | Fault]]:
    found = human_eval.problems_of([record for _, record in records], make_sandbox)
    for (line, record), one in zip(records, found, strict=True):
        yield line, one if isinstance(one, Problem) else Fault(line, f"{record['task_id']}: {one}", False)
