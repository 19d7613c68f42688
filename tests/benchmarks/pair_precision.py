"""Measure how often the chosen program of a pair is right and the rejected one wrong, for each rule of selection.

    python -m tests.benchmarks.pair_precision --write validation validation.jsonl    # a split to train on, without references
    conself --home HOME score --problems validation.jsonl --benchmark humaneval --seed 7
    python -m tests.benchmarks.pair_precision HOME [--references mbpp.jsonl]

The rules are limits of the normalised entropy, limits of the largest cluster's share, and whether a program that
answers every input alike may be chosen. For every rule it prints the problems that give pairs, the pairs, the share of
pairs whose chosen program is right on every input, given and augmented, and the share whose rejected program is wrong.
The references (of the starter pack, or of MBPP's file) judge here; no round ever sees them.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
from collections.abc import Mapping
from pathlib import Path

from conself_local.method.behaviour import is_crashed
from conself_local.method.curriculum import ProblemScore, select_learnable
from conself_local.method.pairs import ScoredSample
from conself_local.problems.formats.own import record_of
from conself_local.problems.load import load_starter
from conself_local.settings import Settings, replace_values
from conself_local.stages.score import ProblemEvidence, load_evidence, pairs_from
from conself_local.store.store import Store
from tests.benchmarks.grown_inputs import expected_answers, read_references

Answers = Mapping[str, tuple[str | None, ...]]


def main() -> None:
    """Print the table of all rules, or write a split as training problems (`--write`)."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("home", type=Path, nargs="?")
    parser.add_argument("--references", type=Path, help="MBPP's file (default: the references of the starter pack)")
    parser.add_argument("--write", nargs=2, metavar=("SPLIT", "FILE"))
    options = parser.parse_args()
    if options.write:
        _write(*options.write)
        return
    references = read_references(options.references)
    with Store(options.home / "conself.db") as store:
        round_ = store.round(1)
        problems = [p for p in store.round_problems(1) if p.id in references]
        expected = expected_answers(store, round_, problems, references)
        evidence = [load_evidence(store, round_, p) for p in problems if p.id in expected]
    rights = [_is_right(b, expected[one.problem_id]) for one in evidence for b in one.behaviours]
    print(f"{len(evidence)} problems, a sample is right in {sum(rights) / len(rights):.3f}")
    print("| rule | problems | pairs | chosen right | rejected wrong |\n|---|---|---|---|---|")
    for name, settings in _settings(round_.settings):
        _print(name, settings, evidence, expected)


def _write(split: str, path: str) -> None:
    problems = [p for p in load_starter() if p.split == split]
    records = [record_of(dataclasses.replace(p, split="train", reference=None)) for p in problems]
    Path(path).write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")


def _settings(settings: Settings) -> list[tuple[str, Settings]]:
    everything = replace_values(
        settings,
        {
            "selection.entropy_threshold": None,
            "pairs.min_cluster_share": 0.0,
            "pairs.allow_constant_chosen": True,
        },
    )
    found = [("all informative", everything)]
    for normalisation, threshold in itertools.product(("min-max", "log2"), (0.3, 0.5, 0.7)):
        changed = {"selection.entropy_normalisation": normalisation, "selection.entropy_threshold": threshold}
        found.append((f"{normalisation} below {threshold}", replace_values(everything, changed)))
    for constant, share in itertools.product((True, False), (0.0, 0.3, 0.4, 0.5, 0.6)):
        if share or not constant:
            name = f"cluster share of at least {share}" + ("" if constant else ", no constant chosen")
            changed = {"pairs.min_cluster_share": share, "pairs.allow_constant_chosen": constant}
            found.append((name, replace_values(everything, changed)))
    return found


def _print(name: str, settings: Settings, evidence: list[ProblemEvidence], expected: Answers) -> None:
    scores: dict[str, ProblemScore] = {one.problem_id: one.score() for one in evidence}
    selected = set(
        select_learnable(
            scores,
            entropy_normalisation=settings.selection.entropy_normalisation,
            entropy_threshold=settings.selection.entropy_threshold,
            max_crash_rate=settings.selection.max_crash_rate,
        )
    )
    pairs = {one.problem_id: pairs_from(one, settings, 0) for one in evidence if one.problem_id in selected}
    found = [
        (_right(p.chosen, expected[id]), not _right(p.rejected, expected[id]))
        for id, some in pairs.items()
        for p in some
    ]
    if found:
        chosen, rejected = (sum(column) / len(found) for column in zip(*found, strict=True))
        print(f"| {name} | {sum(map(bool, pairs.values()))} | {len(found)} | {chosen:.3f} | {rejected:.3f} |")


def _right(sample: ScoredSample, expected: tuple[str | None, ...]) -> bool:
    return _is_right(sample.behaviour, expected)


def _is_right(behaviour: tuple[str | None, ...], expected: tuple[str | None, ...]) -> bool:
    """Return whether the behaviour equals the reference's on every input that the reference answers."""
    return not is_crashed(behaviour) and all(
        want is None or got == want for got, want in zip(behaviour, expected, strict=True)
    )


if __name__ == "__main__":
    main()
