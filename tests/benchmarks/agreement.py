"""How often is right what samples agree on, and which filter believes the right ones? On judged answers of a home's model.

    conself experiment tests/experiments/search.toml --folder RUNS
    python -m tests.benchmarks.agreement "RUNS/share of at least 0.4 0" --benchmark validation

The answers are those sampled before training; the references of the benchmark say only which are right. For each filter:
how many problems it leaves, and how often the program of the highest consensus is right there.
"""

from __future__ import annotations

import argparse
import sqlite3
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from conself_local.method.behaviour import Behaviour, comparison_key, crash_rate
from conself_local.method.consensus import consensus
from conself_local.method.curriculum import Normaliser, ProblemScore, normalise_entropy
from conself_local.method.entropy import clusters, semantic_entropy_bits
from conself_local.store.store import Store
from sandbox import Limits, Program, Sandbox, Status

MAX_CRASH_RATE = 0.8


@dataclass(frozen=True)
class Agreed:
    """One problem: what its samples agree on, and whether it is right."""

    score: ProblemScore
    pass_rate: float
    best_right: bool
    highest: float
    largest_share: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("home", type=Path)
    parser.add_argument("--benchmark", default="validation")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "conself.db"
        with sqlite3.connect(options.home / "conself.db") as source, sqlite3.connect(copy) as target:
            source.backup(target)
        with Store(copy) as store:
            _print(_agreed(store, options.benchmark))


def _agreed(store: Store, benchmark: str) -> dict[str, Agreed]:
    sql = """select e.problem_id, e.correct, p.id, p.code from evaluation_samples e join programs p on p.id = e.program_id
             where e.benchmark = ? and e.arm = 'base' and e.mode != 'greedy' and e.correct is not null order by e.problem_id, e.number"""
    answers = defaultdict(list)
    for row in store.rows(sql, benchmark):
        answers[row["problem_id"]].append(row)
    programs: dict[str, Program] = {}
    for id, rows in answers.items():
        problem = store.problem(id)
        programs |= {r["id"]: Program(r["id"], r["code"], problem.kind, problem.entry_point, problem.inputs) for r in rows}
    behaviours: dict[str, Behaviour] = {}
    with Sandbox(Limits(wall_s=3.0, max_timeouts=2), inputs="together") as sandbox:
        for result in sandbox.run(list(programs.values())):
            keys = (comparison_key(o.text or "") if o.status is Status.OK else None for o in result.outputs)
            behaviours[result.program_id] = tuple(keys)
    agreed = {}
    for id, rows in answers.items():
        of_rows = [behaviours[row["id"]] for row in rows]
        values, valid = consensus(of_rows), [c for c in clusters(of_rows) if c is not None]
        best = max(range(len(rows)), key=values.__getitem__)
        agreed[id] = Agreed(
            ProblemScore(crash_rate(of_rows), semantic_entropy_bits(of_rows), len(valid)), fmean(bool(r["correct"]) for r in rows),
            bool(rows[best]["correct"]), values[best], max(Counter(valid).values()) / len(valid) if valid else 0.0,
        )  # fmt: skip
    return agreed


def _print(agreed: dict[str, Agreed]) -> None:
    print(f"{len(agreed)} problems: a sample is right in {fmean(a.pass_rate for a in agreed.values()):.3f}, the program of the highest "
          f"consensus in {fmean(a.best_right for a in agreed.values()):.3f}")  # fmt: skip
    scores = {id: a.score for id, a in agreed.items()}
    normalised: dict[Normaliser, dict[str, float]] = {
        n: normalise_entropy(scores, normaliser=n, max_crash_rate=MAX_CRASH_RATE) for n in ("min-max", "log2")
    }
    informative = {id: a for id, a in agreed.items() if id in normalised["min-max"]}

    def row(name: str, kept: Callable[[str, Agreed], bool]) -> None:
        left = [a for id, a in informative.items() if kept(id, a)]
        if left:
            print(f"| {name} | {len(left)} | {fmean(a.best_right for a in left):.3f} | {fmean(a.pass_rate for a in left):.3f} |")

    print("| filter | problems | highest consensus right | a sample right |\n|---|---|---|---|")
    row("informative", lambda id, a: True)
    for normaliser, of_problem in normalised.items():
        for limit in (0.3, 0.4, 0.5, 0.6):
            row(f"entropy by {normaliser} below {limit}", lambda id, a, limit=limit, of_problem=of_problem: of_problem[id] < limit)  # type: ignore[misc]
    for limit in (0.4, 0.5, 0.6, 0.7, 0.8):
        row(f"highest consensus at least {limit}", lambda id, a, limit=limit: a.highest >= limit)  # type: ignore[misc]
        row(f"largest share at least {limit}", lambda id, a, limit=limit: a.largest_share >= limit)  # type: ignore[misc]


if __name__ == "__main__":
    main()
