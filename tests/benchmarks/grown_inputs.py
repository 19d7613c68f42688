"""Whether grown test inputs tell more programs apart, and what that does to entropy and pairs, on the same programs.

    conself --home HOME execute --problems mbpp.jsonl --model MODEL          # samples and runs; take your time
    python -m tests.benchmarks.grown_inputs HOME mbpp.jsonl --grown 8

Works on a copy of the home's store. The reference solutions of the file judge here; no round ever sees them.
Prints, for the given inputs and for the grown set: pairs of different programs told apart, Spearman's correlation of the
semantic entropy with the pass rate, and how often the chosen side of a pair is right and the rejected one wrong.
"""

from __future__ import annotations

import argparse
import ast
import dataclasses
import gzip
import itertools
import json
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from conself_local.events import ignore_events
from conself_local.method.behaviour import is_crashed
from conself_local.method.curriculum import select_learnable
from conself_local.method.pairs import build_pairs
from conself_local.problems.literals import parse_input
from conself_local.problems.load import load_starter
from conself_local.problems.problem import Problem
from conself_local.settings import Settings, settings_to_json
from conself_local.stages.augment import augment_inputs
from conself_local.stages.execute import limits_of
from conself_local.stages.score import ProblemEvidence, key_of, load_evidence, scored_samples
from conself_local.store.store import RoundInfo, Store
from sandbox import Limits, Program, Sandbox

Rights = dict[str, list[bool]]
"""Problem -> whether each counted sample answers as the reference does."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("home", type=Path)
    parser.add_argument("problems", type=Path, help="MBPP's file, with its reference solutions")
    parser.add_argument("--round", type=int, default=1)
    parser.add_argument("--grown", type=int, default=8)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for name in ("conself.db", "conself.db-wal"):
            if (options.home / name).exists():
                shutil.copy(options.home / name, folder)
        with Store(Path(folder) / "conself.db") as store:
            _measure(store, store.round(options.round), read_references(options.problems), options.grown)


def read_references(path: Path | None) -> dict[str, str]:
    """Of MBPP's file; without one, of the starter pack."""
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
    settings = dataclasses.replace(round_.settings, grown_inputs=grown)
    store.db.table("rounds").update(round_.id, {"settings": json.dumps(settings_to_json(settings))})
    round_ = store.round(round_.id)
    augment_inputs(store, round_, lambda limits: Sandbox(limits, workers=2), ignore_events)
    after = {p.id: load_evidence(store, round_, p) for p in problems}
    print(store.stage_summary(round_.id, "grow"))
    expected = expected_answers(store, round_, problems, references)
    right_on_given = {id: [b == expected[id][: len(b)] for b in given[id].behaviours] for id in expected}
    right_on_all = {id: [b == expected[id] for b in after[id].behaviours] for id in expected}
    told, pairs = _told_apart(list(given.values()))
    told_after, _ = _told_apart(list(after.values()))
    print(
        f"pairs of different valid programs: {pairs}; told apart by the given inputs {told} ({told / pairs:.3f}), "
        f"by the grown set {told_after} ({told_after / pairs:.3f}): {told_after / told - 1:+.1%}"
    )
    _print_bound(after.values(), right_on_all)
    for name, right in (("the given inputs", right_on_given), ("the grown set", right_on_all)):
        print(f"pass rate by the reference on {name}: {np.mean([np.mean(r) for r in right.values() if r]):.3f}")
        for arm, evidence in (("given", given), ("grown", after)):
            correlation, count = _correlation(evidence, right)
            print(f"  entropy by {arm}: Spearman with the pass rate {correlation:+.3f} over {count} problems")
    for arm, evidence in (("given", given), ("grown", after)):
        _print_pairs(round_.settings, arm, evidence, right_on_given, right_on_all)


def expected_answers(
    store: Store, round_: RoundInfo, problems: Sequence[Problem], references: dict[str, str]
) -> dict[str, tuple[str | None, ...]]:
    """What the reference answers on given and grown inputs; problems whose reference fails on a given one are left out."""
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


def _told_apart(evidence: Sequence[ProblemEvidence]) -> tuple[int, int]:
    """(pairs of different valid programs with different behaviours, all pairs of them)"""
    told = pairs = 0
    for one in evidence:
        behaviours = {
            row["program_id"]: b for row, b in zip(one.rows, one.behaviours, strict=True) if not is_crashed(b)
        }
        for a, b in itertools.combinations(behaviours.values(), 2):
            pairs += 1
            told += a != b
    return told, pairs


def _print_bound(evidence: Iterable[ProblemEvidence], on_all: Rights) -> None:
    """What the pairs that nothing has told apart are: two right programs, or one program in other words, are one behaviour."""
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
                elif _bare(code_a) == _bare(code_b):
                    same += 1
                else:
                    others += 1
    print(
        f"not told apart: {both_right} pairs of two programs that agree with the reference, {same} that are equal but for names and "
        f"comments, {others} others"
    )


def _bare(code: str) -> str:
    """The syntax tree without names, comments and docstrings."""
    tree = ast.parse(code)
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        for field in ("id", "arg", "name"):
            if isinstance(value := getattr(node, field, None), str):
                setattr(node, field, names.setdefault(value, f"n{len(names)}"))
        if isinstance(body := getattr(node, "body", None), list):
            node.body = [s for s in body if not (isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant))]  # type: ignore[attr-defined]
    return ast.dump(tree)


def _correlation(evidence: dict[str, ProblemEvidence], right: Rights) -> tuple[float, int]:
    rows = [(evidence[id].score().entropy_bits, float(np.mean(rights))) for id, rights in right.items() if rights]
    known = [(entropy, rate) for entropy, rate in rows if entropy is not None]
    entropies, rates = (ranks([float(pair[i]) for pair in known]) for i in (0, 1))
    return float(np.corrcoef(entropies, rates)[0, 1]), len(known)


def ranks(values: Sequence[float]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Ranks from 0, ties as their mean."""
    _, places, counts = np.unique(np.asarray(values), return_inverse=True, return_counts=True)
    mean_ranks = np.cumsum(counts) - (counts + 1) / 2
    return mean_ranks[places]


def _print_pairs(
    settings: Settings, arm: str, evidence: dict[str, ProblemEvidence], on_given: Rights, on_all: Rights
) -> None:
    scores = {id: one.score() for id, one in evidence.items()}
    selected = select_learnable(
        scores,
        entropy_normalisation=settings.normaliser,
        entropy_threshold=settings.threshold,
        max_crash_rate=settings.max_crash_rate,
    )
    tally = np.zeros(5)
    for id in on_given.keys() & set(selected):
        pairs = build_pairs(
            scored_samples(evidence[id]),
            rejected=settings.rejected,
            max_pairs=settings.max_pairs,
            distinct_code=settings.distinct_code,
        )
        places = {row["id"]: i for i, row in enumerate(evidence[id].rows)}
        for pair in pairs:
            c, r = places[pair.chosen.id], places[pair.rejected.id]
            tally += [1, on_given[id][c], on_given[id][r], on_all[id][c], on_all[id][r]]
    shares = tally / max(1, tally[0])
    print(
        f"{len(selected)} problems selected by {arm}: {int(tally[0])} pairs; chosen right {shares[1]:.3f} on given, {shares[3]:.3f} "
        f"on all inputs; rejected right {shares[2]:.3f} and {shares[4]:.3f}"
    )


if __name__ == "__main__":
    main()
