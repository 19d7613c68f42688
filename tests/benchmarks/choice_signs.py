"""Ask how often the chosen programs are right if problems are ranked by signs that need no label, and by all of them.

    python -m tests.benchmarks.choice_signs tests/benchmarks/results/samples-mbpp.jsonl.gz --references mbpp.jsonl

For each problem, the behaviour of most samples is chosen, a constant one only if there is no other. The problems are
ranked by each sign, and by a logistic regression on all of them that is fitted to the references of the other problems
(five folds, mean of 20 divisions), which no round has. It is no bound: another model of these signs might do better.
Printed is the share of chosen behaviours that are right among the first problems of a ranking: of those that could give
a pair, because another sample differs, and of all.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

from conself_local.method.behaviour import is_constant, is_crashed
from conself_local.problems.problem import Problem
from conself_local.stages.score import ProblemEvidence
from tests.benchmarks.grown_inputs import judged_evidence, read_references
from tests.benchmarks.kept_samples import open_copy
from tests.benchmarks.pair_precision import is_right

Array = npt.NDArray[np.float64]
FIRST = (60, 80, 100, 120, 147)
FOLDS, DIVISIONS, PENALTY = 5, 20, 3.0


@dataclass(frozen=True)
class Choice:
    """The chosen behaviour of a problem: whether it is right, and what speaks for it."""

    right: bool
    gives_pair: bool
    """Whether the chosen is no constant, and another sample differs."""
    signs: Mapping[str, float]
    """Name -> value; a higher value speaks for the chosen behaviour."""


def main() -> None:
    """Print one table for the problems that could give a pair, and one for all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("home", type=Path, help="home, or file of kept samples (kept_samples.py)")
    parser.add_argument("--references", type=Path, help="MBPP's file (default: the references of the starter pack)")
    options = parser.parse_args()
    references = read_references(options.references)
    with open_copy(options.home) as store:
        evidence, expected = judged_evidence(store, store.round(1), references)
        found = [choice_of(store.problem(one.problem_id), one, expected[one.problem_id]) for one in evidence]
    choices = [choice for choice in found if choice]
    for title, some in (("could give a pair", [c for c in choices if c.gives_pair]), ("all", choices)):
        if len(some) < FOLDS:
            parser.error(f"too few problems of this home have samples and a reference: {len(some)}")
        print("\n".join(table_lines(title, some)))


def choice_of(problem: Problem, evidence: ProblemEvidence, expected: tuple[str | None, ...]) -> Choice | None:
    """Return the chosen behaviour of a problem with its signs, or None if no sample ran."""
    votes = Counter(b for b in evidence.behaviours if not is_crashed(b))
    if not votes:
        return None
    chosen = min(votes, key=lambda b: (is_constant(b), -votes[b]))
    rival = max((count for b, count in votes.items() if b != chosen), default=0)
    ran, likelihoods = votes.total(), [-row["mean_nll"] for row in evidence.rows]
    signs = {
        "share of the samples": votes[chosen] / evidence.sampled,
        "share of those that ran": votes[chosen] / ran,
        "lead over the next": (votes[chosen] - rival) / evidence.sampled,
        "samples that ran": ran / evidence.sampled,
        "few behaviours": -len(votes),
        "mean log-probability": fmean(likelihoods),
        "highest log-probability": max(likelihoods),
        "different outputs": len(set(chosen)),
        "few arguments": -problem.starter_code.count(","),
        "short statement": -len(problem.statement),
    }
    differs = len(set(evidence.behaviours)) > 1 or len(evidence.behaviours) < evidence.sampled
    return Choice(is_right(chosen, expected), differs and not is_constant(chosen), signs)


def table_lines(title: str, choices: Sequence[Choice]) -> list[str]:
    """Return the table of some problems; a column that has fewer problems than its number counts all of them."""
    right = np.array([c.right for c in choices], float)
    signs = np.array([list(c.signs.values()) for c in choices], float)
    lines = [
        f"{title}: {len(choices)} problems, the chosen is right in {int(right.sum())}",
        f"| ranked by | {' | '.join(f'first {n}' for n in FIRST)} |",
        "|---" * (1 + len(FIRST)) + "|",
    ]
    lines += [_line(name, [first_right(column, right)]) for name, column in zip(choices[0].signs, signs.T, strict=True)]
    divisions = (first_right(predictions(signs, right, seed), right) for seed in range(DIVISIONS))
    return [*lines, _line("all together, fitted to references", divisions)]


def _line(name: str, shares: Iterable[Sequence[float]]) -> str:
    return f"| {name} | {' | '.join(f'{fmean(column):.3f}' for column in zip(*shares, strict=True))} |"


def first_right(score: Array, right: Array) -> list[float]:
    """Return the share of right choices among the first ones by score, for each number in `FIRST`."""
    ranked = right[np.argsort(-score, kind="stable")]
    return [float(ranked[:n].mean()) for n in FIRST]


def predictions(signs: Array, right: Array, seed: int) -> Array:
    """Return a score per problem (row of `signs`) from the logistic regression that the other folds give."""
    scaled = (signs - signs.mean(0)) / np.maximum(signs.std(0), 1e-9)
    rows = np.c_[scaled, np.ones(len(scaled))]
    order = np.random.default_rng(seed).permutation(len(rows))
    scores = np.zeros(len(rows))
    for fold in range(FOLDS):
        held_out = order[fold::FOLDS]
        others = np.setdiff1d(order, held_out)
        scores[held_out] = rows[held_out] @ _fit(rows[others], right[others])
    return scores


def _fit(rows: Array, right: Array) -> Array:
    """Return the weights of a logistic regression with a quadratic penalty, the constant unpenalised."""
    signs = 2 * right - 1

    def loss(weights: Array) -> float:
        return float(np.logaddexp(0, -signs * (rows @ weights)).sum() + PENALTY / 2 * (weights[:-1] ** 2).sum())

    weights: Array = minimize(loss, np.zeros(rows.shape[1]), method="BFGS").x
    return weights


if __name__ == "__main__":
    main()
