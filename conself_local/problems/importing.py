"""Convert a problems file of any known format to the project's own, and report what was left out and why.

Records are read as a stream. Training problems that repeat an earlier one, or that say the same as a benchmark
problem, are left out, so that a result on these benchmarks means something; so are training problems whose first line
does not run, and others whose reference answers none of their inputs. The benchmarks are the validation and
held-out problems of the file and of the starter pack, and HumanEval if it is installed.
Not done here: adding test inputs to problems that have few; a round does that.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from conself_local.errors import ConselfError
from conself_local.new_files import verify_new, whole_file
from conself_local.problems.formats import own
from conself_local.problems.formats.human_eval import packaged_file
from conself_local.problems.load import (
    PUBLISHED,
    RUN_BY_READER,
    load_problems,
    load_starter,
    read_problems,
    sample_indices,
)
from conself_local.problems.overlap import Overlap, Repeats, exclusion_reason
from conself_local.problems.problem import SPLITS, Problem
from conself_local.problems.records import Fault
from conself_local.problems.runnable import first_lines_that_fail, references_that_fail
from conself_local.problems.statements import WITH_OUTPUTS
from conself_local.problems.stdin_format import StdinFormat
from sandbox import MakeSandbox

FEW_INPUTS = 3
"""A training problem with fewer test inputs than this is reported."""
_MAX_EXAMPLES = 10
_TRIED_TOGETHER = 256
"""Problems that are tried in one sandbox."""
_CHARACTERS_TOGETHER = 16_000_000
"""Characters of these problems."""
_MAX_COMPARED = 50_000
"""Limit for the file's own validation and held-out problems that training problems are compared with."""


@dataclass
class Import:
    """The result of an import or a check: numbers of problems taken and of records left out."""

    splits: dict[str, int] = field(default_factory=lambda: dict.fromkeys(SPLITS, 0))
    """Split -> number of problems taken."""
    left_out: dict[str, int] = field(default_factory=dict)
    """Kind of reason -> number of records left out."""
    examples: list[str] = field(default_factory=list)
    """One sentence for each of the first records left out, at most 10."""
    few_inputs: int = 0
    """Training problems with fewer than `FEW_INPUTS` test inputs."""
    without_format: int = 0
    """Training problems whose format of standard input cannot be inferred; they keep their given inputs."""

    def leave_out(self, kind: str, sentence: str) -> None:
        """Count one record under `kind`, and keep the sentence if there are fewer than 10."""
        self.left_out[kind] = self.left_out.get(kind, 0) + 1
        if len(self.examples) < _MAX_EXAMPLES:
            self.examples.append(sentence)

    def sentences(self) -> list[str]:
        """Return sentences for a person: the problems taken, the records left out, and problems with few inputs."""
        found = [
            f"{self.splits['train']} training problems (inputs only: expected outputs and solutions were dropped), "
            f"{self.splits['validation']} for validation, {self.splits['held-out']} held out"
        ]
        found += [f"{count} left out: {kind}" for kind, count in self.left_out.items()]
        found += [f"  {sentence}" for sentence in self.examples]
        if self.few_inputs:
            found.append(
                f"{self.few_inputs} training problems have fewer than {FEW_INPUTS} test inputs; "
                "a round adds more if it can"
            )
        if self.without_format:
            found.append(
                f"{self.without_format} training problems read stdin in a format that the examples do not show; "
                "a round adds no inputs to them"
            )
        return found


def import_problems(
    source: Path,
    target: Path,
    make_sandbox: MakeSandbox,
    *,
    limit: int | None,
    seed: int,
    on_progress: Callable[[int], None],
    keep_examples: bool = False,
) -> Import:
    """Write the usable problems of `source` to `target` in the project's own format, and return the report.

    limit: keep at most this many training problems, drawn by the seed; None: all of them. on_progress: called with
    each record's index, which counts from 0 in each of two passes over the file. keep_examples: as in `read_problems`.
    A record that cannot be read is left out with its reason. Raises ConselfError if `target` exists, or if no problem
    is usable; `target` is written completely or not at all.
    """
    verify_new(target)
    report = Import()
    benchmarks = _benchmarks(source, make_sandbox, on_progress)
    with whole_file(target, replace=False) as part:
        with part.open("w", encoding="utf-8") as lines:
            for problem in _accepted(
                source, make_sandbox, benchmarks, report, on_progress, keep_examples=keep_examples
            ):
                lines.write(json.dumps(own.record_of(problem)) + "\n")
        if not sum(report.splits.values()):
            raise ConselfError(f"{source} contains no usable problem", "; ".join(report.sentences()[1:4]))
        if limit is not None and limit < report.splits["train"]:
            _draw(part, limit, seed, report)
    return report


def check_problems(source: Path, make_sandbox: MakeSandbox) -> tuple[list[str], Import]:
    """Return the faults that the user must fix, each with file and line, and the report that an import would give."""
    faults: list[str] = []
    report = Import()
    benchmarks = _benchmarks(source, make_sandbox, lambda done: None)
    for _ in _accepted(source, make_sandbox, benchmarks, report, lambda done: None, faults):
        pass
    return faults, report


def _benchmarks(source: Path, make_sandbox: MakeSandbox, on_progress: Callable[[int], None]) -> Overlap:
    overlap = Overlap(load_starter(("validation", "held-out")))
    with contextlib.suppress(ConselfError):  # if HumanEval is not installed, no round is evaluated on it
        for problem in load_problems(packaged_file(), make_sandbox).problems:
            overlap.add(problem)
    compared = 0
    for done, one in enumerate(read_problems(source, make_sandbox)):
        if isinstance(one, Problem) and one.split != "train" and compared < _MAX_COMPARED:
            overlap.add(one)
            compared += 1
        on_progress(done)
    return overlap


def _accepted(
    source: Path,
    make_sandbox: MakeSandbox,
    benchmarks: Overlap,
    report: Import,
    on_progress: Callable[[int], None],
    faults: list[str] | None = None,
    *,
    keep_examples: bool = False,
) -> Iterator[Problem]:
    """Yield the problems that are taken, and count everything in the report.

    faults: collects what the user can fix; if it is None, the report does. keep_examples: as in `read_problems`.
    """
    repeats = Repeats()
    for done, (one, why_not) in enumerate(_tried(source, make_sandbox, keep_examples)):
        on_progress(done)
        if isinstance(one, Fault):
            if one.fixable and faults is not None:
                faults.append(f"{source}, line {one.line}: {one.why}")
            else:
                report.leave_out("cannot be used", f"line {one.line}: {one.why}")
            continue
        if why_not:
            if one.origin.removesuffix(WITH_OUTPUTS) not in PUBLISHED and faults is not None:
                faults.append(f"{source}, {one.id}: {why_not}")
            else:
                report.leave_out("cannot be run", f"{one.id}: {why_not}")
            continue
        if one.split == "train":
            if why := exclusion_reason(one, benchmarks, repeats):
                report.leave_out(*why)
                continue
            report.few_inputs += len(one.inputs) < FEW_INPUTS
            report.without_format += one.kind == "stdin" and StdinFormat.infer([str(i) for i in one.inputs]) is None
        report.splits[one.split] += 1
        yield one


def _tried(source: Path, make_sandbox: MakeSandbox, keep_examples: bool) -> Iterator[tuple[Problem | Fault, str]]:
    """Yield each problem with the reason why it cannot be run, empty if it can; and each fault.

    The first lines of training problems and the references of the others are tried, many in one sandbox.
    """
    together: list[Problem | Fault] = []
    characters = 0
    for one in read_problems(source, make_sandbox, keep_examples=keep_examples):
        together.append(one)
        characters += len(repr(one))
        if len(together) == _TRIED_TOGETHER or characters > _CHARACTERS_TOGETHER:
            yield from _tried_batch(together, make_sandbox)
            together.clear()
            characters = 0
    yield from _tried_batch(together, make_sandbox)


def _tried_batch(batch: list[Problem | Fault], make_sandbox: MakeSandbox) -> Iterator[tuple[Problem | Fault, str]]:
    problems = [one for one in batch if isinstance(one, Problem)]
    failing = first_lines_that_fail([one for one in problems if one.split == "train"], make_sandbox)
    failing |= references_that_fail([one for one in problems if one.origin not in RUN_BY_READER], make_sandbox)
    for one in batch:
        yield one, failing.get(one.id, "") if isinstance(one, Problem) else ""


def _draw(part: Path, limit: int, seed: int, report: Import) -> None:
    """Keep `limit` of the training problems, drawn by the seed, and all other problems."""
    drawn = sample_indices(report.splits["train"], limit, seed)
    training_index = 0
    with whole_file(part) as smaller, part.open(encoding="utf-8") as lines, smaller.open("w", encoding="utf-8") as kept:
        for line in lines:
            training = json.loads(line)["split"] == "train"
            if not training or training_index in drawn:
                kept.write(line)
            training_index += training
    report.splits["train"] = limit
