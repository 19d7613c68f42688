"""Print what each round of a home did to the model, and how long it took.

    conself experiment tests/benchmarks/experiments/rounds.toml --folder FOLDER
    python -m tests.benchmarks.round_by_round "FOLDER/three rounds, pooled votes 0"

For the base model and after every round that was judged on the validation problems (or another `--benchmark`) it prints
the state of the adapter, the pairs, pass@1, greedy pass@1 and pass@k, the answers' length, the minutes, and what the
guard finds in these answers, whether or not the round asked for it. A round begins with the latest accepted adapter. The
minutes reach from the start of a round to its result, pauses included.
"""

from __future__ import annotations

import argparse
import json
from datetime import datetime
from pathlib import Path
from typing import Any

from conself_local.method.guard import GuardResult
from conself_local.stages.guard import SPLIT, guard_answers
from conself_local.store.store import RoundInfo, Store
from tests.benchmarks.kept_samples import open_copy

_ROUNDS = """select e.round_id, e.result, e.created_at_utc, a.state,
        (select count(*) from pairs p where p.round_id = e.round_id and not p.excluded) as pairs
    from evaluations e join adapters a on a.round_id = e.round_id where e.benchmark = ? order by e.round_id"""


def main() -> None:
    """Print the table of the rounds, then what the guard finds in each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("home", type=Path)
    parser.add_argument("--benchmark", default=SPLIT, help=f"whose answers are read (default: {SPLIT})")
    parser.add_argument("--k", type=int, nargs="*", default=[10, 20], help="pass@k to print (default: 10 20)")
    options = parser.parse_args()
    with open_copy(options.home) as store:
        lines = report_lines(store, options.k, options.benchmark)
    if not lines:
        parser.error(f"no round of {options.home} was judged on {options.benchmark}")
    print("\n".join(lines))


def report_lines(store: Store, ks: list[int], benchmark: str = SPLIT) -> list[str]:
    """Return the lines of the table and of the guard; none if no round was judged on the benchmark."""
    rows = store.rows(_ROUNDS, benchmark)
    if not rows:
        return []
    reach = " | ".join(f"pass@{k}" for k in ks)
    lines = [
        f"| model | adapter | pairs | pass@1 | greedy | {reach} | tokens | minutes | of the first |",
        "|---" * (8 + len(ks)) + "|",
        f"| base | | | {share_cells(json.loads(rows[0]['result'])['base'], ks)} | | |",
    ]
    guard, first = [""], 0.0
    for row in rows:
        round_ = store.round(row["round_id"])
        minutes = _minutes(round_, row["created_at_utc"])
        first = first or minutes
        shares = share_cells(json.loads(row["result"])["adapter"], ks)
        begin = f"| round {round_.id} | {row['state']} | {row['pairs']} | {shares} |"
        lines.append(f"{begin} {minutes:.1f} | {minutes / first:.2f} |")
        guard.append(guard_line(f"Round {round_.id}", guard_answers(store, round_, benchmark)))
    return lines + guard


def guard_line(name: str, found: GuardResult) -> str:
    """Return what the guard found, with its figures, as an item of a list."""
    figures = ", ".join(f"{sign} {value:.1%}" for sign, value in found.figures.items())
    return f"- {name}: {found.sentence()} ({figures or 'no figures'})."


def share_cells(arm: dict[str, Any], ks: list[int]) -> str:
    """Return pass@1, greedy pass@1, pass@k and mean tokens of one side of a stored result, as cells of a table."""
    values = [arm["pass_at"].get("1"), arm["greedy_pass_at_1"], *(arm["pass_at"].get(str(k)) for k in ks)]
    return f"{' | '.join('-' if v is None else f'{100 * v:.1f}' for v in values)} | {arm['mean_tokens']:.0f}"


def _minutes(round_: RoundInfo, judged_at: str) -> float:
    began, ended = (datetime.fromisoformat(text) for text in (round_.created_at_utc, judged_at))
    return (ended - began).total_seconds() / 60


if __name__ == "__main__":
    main()
