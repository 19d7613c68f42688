"""Compare how well four measures of uncertainty follow the pass rate.

    conself --home HOME execute --problems mbpp.jsonl --model MODEL          # samples and runs the programs; takes long
    python -m tests.benchmarks.uncertainty HOME mbpp.jsonl                   # without a file: the starter pack's references

The measures are semantic entropy, the largest cluster's share, the mean NLL and the mean token entropy. It prints
Spearman's correlation of each with the pass rate over the round's problems, with a 95 % bootstrap interval over
problems, for all samples and for fewer, and for all given inputs and for one. The reference solutions of the file judge
here; no round ever sees them.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from conself_local.method.behaviour import Behaviour
from conself_local.method.entropy import clusters, semantic_entropy_bits
from conself_local.stages.score import ProblemEvidence
from conself_local.store.store import Row, Store
from tests.benchmarks.grown_inputs import judged_evidence, ranks, read_references

DRAWS = 1000
Measure = Callable[[Sequence[Row], Sequence[Behaviour]], float | None]


def _largest_share(rows: Sequence[Row], behaviours: Sequence[Behaviour]) -> float | None:
    valid = [number for number in clusters(behaviours) if number is not None]
    return -Counter(valid)[0] / len(valid) if valid else None


MEASURES: dict[str, Measure] = {
    "semantic entropy": lambda rows, behaviours: semantic_entropy_bits(behaviours),
    "largest share (negated)": _largest_share,
    "mean NLL": lambda rows, behaviours: fmean(row["mean_nll"] for row in rows),
    "mean token entropy": lambda rows, behaviours: fmean(row["mean_entropy_bits"] for row in rows),
}


def main() -> None:
    """Print the correlations for 15, 10 and 5 samples, each for all given inputs and for one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("home", type=Path)
    parser.add_argument(
        "problems",
        type=Path,
        nargs="?",
        help="MBPP's file, with its reference solutions (default: those of the starter pack)",
    )
    parser.add_argument("--round", type=int, default=1)
    options = parser.parse_args()
    with Store(options.home / "conself.db") as store:
        round_ = store.round(options.round)
        references = read_references(options.problems)
        evidence, expected = judged_evidence(store, round_, references)
    evidence = [one for one in evidence if one.rows]
    rates = [fmean(b == expected[one.problem_id] for b in one.behaviours) for one in evidence]
    print(f"{len(evidence)} problems, mean pass rate {fmean(rates):.3f}; Spearman with the pass rate (95 % interval):")
    for samples in (15, 10, 5):
        for inputs in (None, 1):
            _print(evidence, rates, samples, inputs)


def _print(evidence: Sequence[ProblemEvidence], rates: Sequence[float], samples: int, inputs: int | None) -> None:
    """Print the correlations from the first `samples` samples and the first `inputs` inputs (None: all).

    All measures see the same problems: those for which every measure is defined.
    """
    values = []
    for one, rate in zip(evidence, rates, strict=True):
        rows, behaviours = one.rows[:samples], [b[:inputs] for b in one.behaviours[:samples]]
        known = [measure(rows, behaviours) for measure in MEASURES.values()]
        if None not in known:
            values.append([rate, *known])
    table = np.array(values, dtype=np.float64)
    print(f"{samples} samples, {'all given inputs' if inputs is None else f'{inputs} input'} ({len(table)} problems)")
    for column, name in enumerate(MEASURES, start=1):
        low, high = _interval(table[:, 0], table[:, column])
        print(f"  {name:<26} {_spearman(table[:, 0], table[:, column]):+.3f} ({low:+.3f} to {high:+.3f})")


def _spearman(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    return float(np.corrcoef(ranks(list(a)), ranks(list(b)))[0, 1])


def _interval(a: NDArray[np.float64], b: NDArray[np.float64]) -> tuple[float, float]:
    draw = np.random.default_rng(0)
    found = [_spearman(a[drawn], b[drawn]) for drawn in draw.integers(0, len(a), (DRAWS, len(a)))]
    low, high = np.percentile(found, [2.5, 97.5])
    return float(low), float(high)


if __name__ == "__main__":
    main()
