"""From a problems file of any known format to one of our own, as a stream: what was taken, what was left out and why.

Training problems that repeat, or that say what a benchmark says (the file's own validation and held-out problems, the
starter pack's, HumanEval where it is installed), are left out, so that a result on these benchmarks means something.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from conself_local.errors import ConselfError
from conself_local.problems.formats import own
from conself_local.problems.formats.human_eval import packaged_file
from conself_local.problems.load import FIX_HINT, Fault, load_problems, load_starter, read_problems, sample_indices
from conself_local.problems.overlap import Overlap, Repeats, exclusion_reason
from conself_local.problems.problem import SPLITS, Problem
from conself_local.problems.stdin_format import StdinFormat
from sandbox import MakeSandbox

FEW_INPUTS = 3
_MOST_EXAMPLES = 10
_MOST_COMPARED = 50_000
"""Benchmark problems of one file that training problems are compared with."""


@dataclass
class Import:
    """What became of a file."""

    splits: dict[str, int] = field(default_factory=lambda: dict.fromkeys(SPLITS, 0))
    excluded: dict[str, int] = field(default_factory=dict)
    """Why -> how many."""
    examples: list[str] = field(default_factory=list)
    few_inputs: int = 0
    without_format: int = 0
    """Problems on standard input whose format cannot be read off the examples: they keep their given inputs."""

    def leave_out(self, kind: str, sentence: str) -> None:
        self.excluded[kind] = self.excluded.get(kind, 0) + 1
        if len(self.examples) < _MOST_EXAMPLES:
            self.examples.append(sentence)

    def sentences(self) -> list[str]:
        """For a person: what was taken, then what was not, then what to expect of it."""
        found = [
            f"{self.splits['train']} training problems (inputs only: expected outputs and solutions were dropped), "
            f"{self.splits['validation']} for validation, {self.splits['held-out']} held out"
        ]
        found += [f"{count} left out: {kind}" for kind, count in self.excluded.items()]
        found += [f"  {sentence}" for sentence in self.examples]
        if self.few_inputs:
            found.append(
                f"{self.few_inputs} training problems have fewer than {FEW_INPUTS} test inputs; a round adds more where it can"
            )
        if self.without_format:
            found.append(
                f"{self.without_format} problems read a standard input whose format the examples do not show; no inputs are added"
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
) -> Import:
    """limit: only so many training problems, drawn by the seed; on_progress: records read so far, over both passes.

    Raises ConselfError for a record that the user can mend; `target` is written whole or not at all.
    """
    if target.exists():
        raise ConselfError(f"{target} is there already", "give another path")
    report = Import()
    benchmarks = _benchmarks(source, make_sandbox, on_progress)
    part = target.with_name(f".{target.name}.part")
    try:
        with part.open("w", encoding="utf-8") as lines:
            for problem in _accepted(source, make_sandbox, benchmarks, report, on_progress):
                lines.write(json.dumps(own.record_of(problem)) + "\n")
        if not sum(report.splits.values()):
            raise ConselfError(f"{source} holds no problem that can be used", "; ".join(report.sentences()[1:4]))
        if limit is not None and limit < report.splits["train"]:
            _draw(part, limit, seed, report)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
    return report


def check_problems(source: Path, make_sandbox: MakeSandbox) -> tuple[list[str], Import]:
    """(what must be mended, with file and line; what an import would say)"""
    faults: list[str] = []
    report = Import()
    benchmarks = _benchmarks(source, make_sandbox, lambda done: None)
    for _ in _accepted(source, make_sandbox, benchmarks, report, lambda done: None, faults):
        pass
    return faults, report


def _benchmarks(source: Path, make_sandbox: MakeSandbox, on_progress: Callable[[int], None]) -> Overlap:
    overlap = Overlap(load_starter(("validation", "held-out")))
    with contextlib.suppress(ConselfError):  # where it is not installed, nothing is judged on it
        for problem in load_problems(packaged_file(), make_sandbox).problems:
            overlap.add(problem)
    compared = 0
    for done, one in enumerate(read_problems(source, make_sandbox)):
        if isinstance(one, Problem) and one.split != "train" and compared < _MOST_COMPARED:
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
) -> Iterator[Problem]:
    """What is taken, counted in the report. faults: where to tell what the user can mend; None: raise ConselfError for it."""
    repeats = Repeats()
    for done, one in enumerate(read_problems(source, make_sandbox)):
        on_progress(done)
        if isinstance(one, Fault):
            where = f"{source}, line {one.line}: {one.why}"
            if not one.mendable:
                report.leave_out("cannot be used", f"line {one.line}: {one.why}")
            elif faults is None:
                raise ConselfError(where, FIX_HINT)
            else:
                faults.append(where)
            continue
        if one.split == "train":
            if why := exclusion_reason(one, benchmarks, repeats):
                report.leave_out(*why)
                continue
            report.few_inputs += len(one.inputs) < FEW_INPUTS
            report.without_format += one.kind == "stdin" and StdinFormat.infer([str(i) for i in one.inputs]) is None
        report.splits[one.split] += 1
        yield one


def _draw(part: Path, limit: int, seed: int, report: Import) -> None:
    """Keep `limit` of the training problems, and all others."""
    drawn = sample_indices(report.splits["train"], limit, seed)
    smaller = part.with_name(f"{part.name}.drawn")
    number = 0
    with part.open(encoding="utf-8") as lines, smaller.open("w", encoding="utf-8") as kept:
        for line in lines:
            training = json.loads(line)["split"] == "train"
            if not training or number in drawn:
                kept.write(line)
            number += training
    smaller.replace(part)
    report.splits["train"] = limit
