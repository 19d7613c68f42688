"""Measure whether augmented test inputs distinguish more programs, and how entropy and pairs change with them.

    conself --home HOME execute --problems mbpp.jsonl --model MODEL          # samples and runs the programs; takes long
    python -m tests.benchmarks.grown_inputs HOME mbpp.jsonl --grown 8

It works on a copy of the home's store. The reference solutions of the file judge here; no round ever sees them. It
prints, for the given inputs and for the augmented set: the pairs of different programs that are distinguished,
Spearman's correlation of the semantic entropy with the pass rate, and how often the chosen and the rejected program of
a pair are right.
"""

from __future__ import annotations

import argparse
import gzip
import itertools
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from conself_local.events import ignore_events
from conself_local.method.behaviour import is_crashed
from conself_local.method.curriculum import select_learnable
from conself_local.method.pairs import build_pairs
from conself_local.method.syntax_tree import syntax_tree_key
from conself_local.problems.literals import parse_input
from conself_local.problems.load import load_starter
from conself_local.problems.problem import Problem
from conself_local.settings import Settings, replace_values, settings_to_json
from conself_local.stages.augment import augment_inputs
from conself_local.stages.execute import limits_of
from conself_local.stages.score import ProblemEvidence, key_of, load_evidence, scored_samples
from conself_local.store.store import RoundInfo, Store
from sandbox import Limits, Program, Sandbox
from tests.benchmarks.kept_samples import open_copy

Rights = dict[str, list[bool]]
"""Problem id -> whether each counted sample answers as the reference does."""


def main() -> None:
    """Augment the inputs in a copy of the store, and print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("home", type=Path, help="home, or file of kept samples (kept_samples.py)")
    parser.add_argument("problems", type=Path, help="MBPP's file, with its reference solutions")
    parser.add_argument("--round", type=int, default=1)
    parser.add_argument("--grown", type=int, default=8, help="augmented inputs per problem, at most")
    options = parser.parse_args()
    with open_copy(options.home) as store:
        _measure(store, store.round(options.round), read_references(options.problems), options.grown)


def read_references(path: Path | None) -> dict[str, str]:
    """Return the reference solutions of MBPP's file by problem id; without a file, those of the starter pack."""
    if path is None:
        return {p.id: p.reference for p in load_starter() if p.reference}
    opened = gzip.open(path, "rt") if path.suffix == ".gz" else path.open()
    with opened as lines:
        return {f"mbpp/{record['task_id']}": record["code"].replace("\r\n", "\n") for record in map(json.loads, lines)}


def _measure(store: Store, round_: RoundInfo, references: dict[str, str], grown: int) -> None:
    store.db.execute("update round_problems set grown = null where round_id = ?", [round_.id])
    store.db.execute("delete from grown_inputs where round_id = ?", [round_.id])
    store.db.execute("delete from executions where limits like '%/grown/%'")
    problems = store.round_problems(round_.id)
    given = {p.id: load_evidence(store, round_, p) for p in problems}
    settings = replace_values(round_.settings, {"augmentation.max_inputs": grown})
    store.db.table("rounds").update(round_.id, {"settings": json.dumps(settings_to_json(settings))})
    round_ = store.round(round_.id)
    augment_inputs(store, round_, lambda limits: Sandbox(limits, workers=2), ignore_events)
    after = {p.id: load_evidence(store, round_, p) for p in problems}
    print(store.stage_summary(round_.id, "grow"))
    expected = expected_answers(store, round_, problems, references)
    right_on_given = {id: [b == expected[id][: len(b)] for b in given[id].behaviours] for id in expected}
    right_on_all = {id: [b == expected[id] for b in after[id].behaviours] for id in expected}
    distinguished, pairs = _count_distinguished(list(given.values()))
    distinguished_after, _ = _count_distinguished(list(after.values()))
    print(
        f"pairs of different valid programs: {pairs}; distinguished by the given inputs {distinguished} "
        f"({distinguished / pairs:.3f}), by the augmented set {distinguished_after} ({distinguished_after / pairs:.3f}): "
        f"{distinguished_after / distinguished - 1:+.1%}"
    )
    _print_bound(after.values(), right_on_all)
    for name, right in (("the given inputs", right_on_given), ("the augmented set", right_on_all)):
        print(f"pass rate by the reference on {name}: {np.mean([np.mean(r) for r in right.values() if r]):.3f}")
        for arm, evidence in (("given", given), ("augmented", after)):
            correlation, count = _correlation(evidence, right)
            print(f"  entropy from {arm} inputs: Spearman with the pass rate {correlation:+.3f} over {count} problems")
    for arm, evidence in (("given", given), ("augmented", after)):
        _print_pairs(round_.settings, arm, evidence, right_on_given, right_on_all)


def expected_answers(
    store: Store, round_: RoundInfo, problems: Sequence[Problem], references: dict[str, str]
) -> dict[str, tuple[str | None, ...]]:
    """Return the reference's comparison keys on the given and the augmented inputs, by problem id.

    A problem whose reference fails on a given input is excluded; None stands for an augmented input on which it fails.
    """
    sql = "select text from grown_inputs where round_id = ? and problem_id = ? order by number"
    inputs = {p.id: [*p.inputs, *(parse_input(r["text"]) for r in store.rows(sql, round_.id, p.id))] for p in problems}
    by_id = {p.id: p for p in problems}
    limits: Limits = limits_of(round_.settings)
    with Sandbox(limits, workers=2) as sandbox:
        results = list(
            sandbox.run([Program(p.id, references[p.id], p.kind, p.entry_point, inputs[p.id]) for p in problems])
        )
    found = {
        r.program_id: tuple(key_of(o.text, by_id[r.program_id], round_.settings) for o in r.outputs) for r in results
    }
    return {id: keys for id, keys in found.items() if None not in keys[: len(by_id[id].inputs)]}


def judged_evidence(
    store: Store, round_: RoundInfo, references: dict[str, str]
) -> tuple[list[ProblemEvidence], dict[str, tuple[str | None, ...]]]:
    """Return the evidence of a round's problems, and what their references answer (`expected_answers`), by problem id.

    A problem without a reference, or whose reference fails on a given input, is left out of both.
    """
    problems = [p for p in store.round_problems(round_.id) if p.id in references]
    expected = expected_answers(store, round_, problems, references)
    return [load_evidence(store, round_, p) for p in problems if p.id in expected], expected


def _count_distinguished(evidence: Sequence[ProblemEvidence]) -> tuple[int, int]:
    """Return (pairs of different valid programs with different behaviours, all pairs of different valid programs)."""
    distinguished = pairs = 0
    for one in evidence:
        behaviours = {
            row["program_id"]: b for row, b in zip(one.rows, one.behaviours, strict=True) if not is_crashed(b)
        }
        for a, b in itertools.combinations(behaviours.values(), 2):
            pairs += 1
            distinguished += a != b
    return distinguished, pairs


def _print_bound(evidence: Iterable[ProblemEvidence], on_all: Rights) -> None:
    """Print what pairs of programs with equal behaviour are: both right, equal but for names and comments, or others.

    Two right programs have one behaviour, and so has one program in other words: no input can distinguish them.
    """
    both_right = same = others = 0
    for one in evidence:
        rights = on_all.get(one.problem_id, [False] * len(one.rows))
        by_program = {
            row["program_id"]: (row["code"], b, right)
            for row, b, right in zip(one.rows, one.behaviours, rights, strict=True)
            if not is_crashed(b)
        }
        for (code_a, a, right_a), (code_b, b, right_b) in itertools.combinations(by_program.values(), 2):
            if a == b:
                if right_a and right_b:
                    both_right += 1
                elif syntax_tree_key(code_a) == syntax_tree_key(code_b):
                    same += 1
                else:
                    others += 1
    print(
        f"not distinguished: {both_right} pairs of two programs that agree with the reference, {same} that are equal but for names and "
        f"comments, {others} others"
    )


def _correlation(evidence: dict[str, ProblemEvidence], right: Rights) -> tuple[float, int]:
    """Return Spearman's correlation of the entropy with the pass rate, and the number of problems that have both."""
    rows = [(evidence[id].score().entropy_bits, float(np.mean(rights))) for id, rights in right.items() if rights]
    known = [(entropy, rate) for entropy, rate in rows if entropy is not None]
    entropies, rates = (ranks([float(pair[i]) for pair in known]) for i in (0, 1))
    return float(np.corrcoef(entropies, rates)[0, 1]), len(known)


def ranks(values: Sequence[float]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Return the ranks of the values, from 0; equal values get the mean of their ranks."""
    _, positions, counts = np.unique(np.asarray(values), return_inverse=True, return_counts=True)
    mean_ranks = np.cumsum(counts) - (counts + 1) / 2
    return mean_ranks[positions]


def _print_pairs(
    settings: Settings, arm: str, evidence: dict[str, ProblemEvidence], on_given: Rights, on_all: Rights
) -> None:
    scores = {id: one.score() for id, one in evidence.items()}
    selected = select_learnable(
        scores,
        entropy_normalisation=settings.selection.entropy_normalisation,
        entropy_threshold=settings.selection.entropy_threshold,
        max_crash_rate=settings.selection.max_crash_rate,
    )
    tally = np.zeros(5)
    for id in on_given.keys() & set(selected):
        pairs = build_pairs(
            scored_samples(evidence[id], settings),
            rejected=settings.pairs.rejected,
            max_pairs=settings.pairs.max_pairs,
            distinct_code=settings.pairs.distinct_code,
        )
        positions = {row["id"]: i for i, row in enumerate(evidence[id].rows)}
        for pair in pairs:
            c, r = positions[pair.chosen.id], positions[pair.rejected.id]
            tally += [1, on_given[id][c], on_given[id][r], on_all[id][c], on_all[id][r]]
    shares = tally / max(1, tally[0])
    print(
        f"{len(selected)} problems selected with {arm} inputs: {int(tally[0])} pairs; chosen right {shares[1]:.3f} on given, {shares[3]:.3f} "
        f"on all inputs; rejected right {shares[2]:.3f} and {shares[4]:.3f}"
    )


if __name__ == "__main__":
    main()
