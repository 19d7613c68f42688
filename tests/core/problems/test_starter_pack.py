"""The starter pack keeps its promises: counts, disjoint splits, and references that run.

No two references behave alike, and the inputs distinguish each reference from mutants of it.
"""

from __future__ import annotations

import re
from collections import defaultdict
from difflib import SequenceMatcher

import pytest

from conself_local.problems.load import load_starter
from conself_local.problems.problem import Problem
from sandbox import Limits, Program, Sandbox, Status
from tests.fakes.mutants import mutants_of

TRAIN, VALIDATION, HELD_OUT = (load_starter((split,)) for split in ("train", "validation", "held-out"))
REFERENCED = VALIDATION + HELD_OUT
MIN_DISTINGUISHED_MUTANTS = 5


def _words(statement: str) -> list[str]:
    return re.findall(r"\w+", statement.lower())


def test_every_split_has_its_counts_and_inputs() -> None:
    assert len(TRAIN) >= 450 and len(VALIDATION) >= 200 and len(HELD_OUT) >= 200
    for problem in TRAIN + REFERENCED:
        assert len(problem.inputs) >= 20, problem.id
        assert len({repr(i) for i in problem.inputs}) == len(problem.inputs), problem.id
    assert all(p.reference is None for p in TRAIN) and all(p.reference for p in REFERENCED)
    for split in (TRAIN, VALIDATION, HELD_OUT):
        assert any(p.kind == "stdin" for p in split) and any("." in p.entry_point for p in split)


@pytest.mark.round
def test_splits_are_disjoint() -> None:
    splits = {"train": TRAIN, "validation": VALIDATION, "held-out": HELD_OUT}
    ids = [p.id for p in TRAIN + REFERENCED]
    assert len(set(ids)) == len(ids)
    entry_points = [p.entry_point for p in TRAIN + REFERENCED if p.kind == "function"]
    assert len(set(entry_points)) == len(entry_points)
    for name, left in splits.items():
        for other, right in splits.items():
            if name < other:
                for a in left:
                    for b in right:
                        matcher = SequenceMatcher(None, _words(a.statement), _words(b.statement), autojunk=False)
                        if matcher.quick_ratio() > 0.85:
                            assert matcher.ratio() <= 0.85, f"{a.id} ({name}) and {b.id} ({other}) are nearly equal"


def _run(programs: list[Program], *, repeat: bool) -> dict[str, list[str | None]]:
    texts: dict[str, list[str | None]] = {}
    with Sandbox(Limits(wall_s=2.0), workers=2, inputs="together", repeat=repeat) as sandbox:
        for result in sandbox.run(programs):
            texts[result.program_id] = [o.text if o.status is Status.OK else None for o in result.outputs]
            if repeat:
                assert result.deterministic is True, f"{result.program_id} is not deterministic"
    return texts


@pytest.mark.round
def test_every_reference_is_deterministic_and_runs_on_all_inputs() -> None:
    texts = _run([Program(p.id, p.reference or "", p.kind, p.entry_point, p.inputs) for p in REFERENCED], repeat=True)
    for problem in REFERENCED:
        assert None not in texts[problem.id], f"{problem.id} fails on {problem.inputs[texts[problem.id].index(None)]!r}"
        assert len(set(texts[problem.id])) >= 2, f"{problem.id} always answers the same"


@pytest.mark.round
def test_no_two_references_behave_alike_on_pooled_inputs() -> None:
    pools: dict[tuple[str, int], dict[str, object]] = defaultdict(dict)
    for problem in REFERENCED:
        for value in problem.inputs:
            pools[_shape(problem)][repr(value)] = value
    programs = [
        Program(p.id, p.reference or "", p.kind, p.entry_point, list(pools[_shape(p)].values())) for p in REFERENCED
    ]
    seen: dict[tuple[object, ...], str] = {}
    for id, texts in _run(programs, repeat=False).items():
        assert seen.setdefault(tuple(texts), id) == id, f"{id} and {seen[tuple(texts)]} behave alike"


def _shape(problem: Problem) -> tuple[str, int]:
    first = problem.inputs[0]
    return problem.kind, len(first) if isinstance(first, tuple) else 1


@pytest.fixture(scope="module")
def mutant_texts() -> dict[str, list[str | None]]:
    """Return the outputs of every reference (`ID#0`) and of at most 14 mutants of it (`ID#1` and so on)."""
    programs = [
        Program(f"{p.id}#{i}", source, p.kind, p.entry_point, p.inputs)
        for p in REFERENCED
        for i, source in enumerate([p.reference or "", *mutants_of(p.reference or "")[:14]])
    ]
    return _run(programs, repeat=False)


@pytest.mark.slow
def test_inputs_distinguish_each_reference_from_its_mutants(mutant_texts: dict[str, list[str | None]]) -> None:
    for problem in REFERENCED:
        right = mutant_texts[f"{problem.id}#0"]
        mutants = [
            texts for id, texts in mutant_texts.items() if id.startswith(f"{problem.id}#") and not id.endswith("#0")
        ]
        distinguished = sum(texts != right for texts in mutants)
        assert distinguished >= MIN_DISTINGUISHED_MUTANTS, (
            f"{problem.id}: only {distinguished} of {len(mutants)} mutants are distinguished"
        )
