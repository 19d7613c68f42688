"""Judge the adapter of a home's first round with a part of its strength, to see which part gains most and loses least.

    conself experiment tests/benchmarks/experiments/rounds.toml --folder FOLDER
    python -m tests.benchmarks.adapter_strength "FOLDER/three rounds, pooled votes 0" --to STRENGTHS

A strength of 0.5 halves the change of the weights, as the setting `training.strength` does after training. The folder
STRENGTHS gets one home per strength, which is a copy of the first round: the model before it is not asked again, and a
run that was stopped continues. The answers are those to the validation problems. The guard is asked whether or not the
round asked for it.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
from contextlib import closing
from functools import partial
from pathlib import Path

from conself_local.adapters.formats import read_gguf, write_gguf
from conself_local.adapters.strength import weaken
from conself_local.cli.progress import Progress
from conself_local.errors import ConselfError
from conself_local.evaluation.verdict import Change
from conself_local.events import OnEvent
from conself_local.hashes import file_sha256
from conself_local.home import Home
from conself_local.machine.resources import usable_cores
from conself_local.model_files.model import gguf_model, open_model
from conself_local.round.context import ComputeOptions, RoundContext, workers_beside_engine
from conself_local.round.run import run_round
from conself_local.round.start import Request, open_round
from conself_local.stages.guard import SPLIT, guard_answers
from conself_local.store.store import Store
from sandbox import Sandbox
from tests.benchmarks.kept_samples import open_copy
from tests.benchmarks.round_by_round import guard_line, share_cells

_RESULT = "select result from evaluations where round_id = 1 and benchmark = ?"


def main() -> None:
    """Judge every strength that is not judged yet, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("home", type=Path, help="home whose first round was judged on the validation problems")
    parser.add_argument("--to", type=Path, required=True, help="folder of the homes of the strengths")
    parser.add_argument("--strengths", type=float, nargs="+", default=[0.25, 0.5, 0.75], metavar="S")
    parser.add_argument("--k", type=int, nargs="*", default=[10, 20], help="pass@k to print (default: 10 20)")
    options = parser.parse_args()
    homes = {strength: Home(options.to / f"{strength:g}") for strength in sorted(options.strengths)}
    with Progress() as progress:
        for strength, home in homes.items():
            if not home.database.exists():
                copy_weakened(Home(options.home, existing=True, writable=False), home, strength)
            judge(home, progress.on_event)
    homes[1.0] = Home(options.home, existing=True, writable=False)
    print("\n".join(table_lines(homes, options.k)))


def copy_weakened(source: Home, target: Home, strength: float) -> None:
    """Copy the first round of a home as it was before it was judged, with `strength` times the effect of its adapter.

    The target's store appears when it is complete. Raises ConselfError if the round was not judged, or if it kept a part
    of the change itself.
    """
    part = target.path / "conself.db.part"
    part.unlink(missing_ok=True)
    with closing(sqlite3.connect(source.database)) as old, closing(sqlite3.connect(part)) as new:
        old.backup(new)
    with Store(part) as store:
        if not store.value(_RESULT, SPLIT):
            raise ConselfError(
                f"the first round of {source.path} was not judged on the validation problems",
                "run it to its end first, with 20 samples per problem",
            )
        if store.round(1).settings.training.strength < 1:
            raise ConselfError(
                f"the first round of {source.path} keeps a part of what training changed already",
                "run one with --set training.strength=1",
            )
        row = store.row("select id, name, path from adapters where round_id = 1")
        model = gguf_model(open_model(store.round(1).model_path), "a weaker adapter")
        path = target.adapters / row["name"] / Path(row["path"]).name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_gguf(weaken(read_gguf(Path(row["path"]), model), strength), model, path)
        _forget_judgement(store)
        changed = {"path": str(path), "peft_path": "", "sha256": file_sha256(path), "state": "candidate"}
        store.db.table("adapters").update(row["id"], changed)
    part.rename(target.database)


def _forget_judgement(store: Store) -> None:
    """Delete the later rounds and the answers with the adapter, and let the first round continue."""
    store.db.execute("pragma foreign_keys = off")
    with store.transaction():
        store.db.execute("delete from evaluation_samples where arm = 'adapter'")
        store.db.execute("delete from evaluations")
        store.db.execute("delete from stages where stage in ('decide', 'guard') or stage like 'evaluate%'")
        for table in store.db.table_names():
            if "round_id" in store.db[table].columns_dict:
                store.db.execute(f"delete from {table} where round_id > 1")
        store.db.execute("delete from rounds where id > 1")
        store.db.execute("update rounds set state = 'running'")


def judge(home: Home, on_event: OnEvent) -> None:
    """Continue the round of a home to its end; does nothing if it has ended."""
    compute = ComputeOptions(usable_cores())
    with home.lock(), Store(home.database) as store:
        if store.round(1).state == "done":
            return
        alone = partial(Sandbox, workers=compute.workers)
        round_, model, benchmarks = open_round(store, Request(), alone)
        beside = partial(Sandbox, workers=workers_beside_engine(compute, model))
        context = RoundContext(store, home, model, compute, alone, beside, on_event)
        run_round(context, round_, [benchmark for benchmark in benchmarks if benchmark.name == SPLIT])


def table_lines(homes: dict[float, Home], ks: list[int]) -> list[str]:
    """Return a row for the base and for each strength, then what the guard finds for each."""
    lines: list[str] = []
    guard = [""]
    for strength, home in homes.items():
        with open_copy(home.path) as store:
            result = json.loads(store.value(_RESULT, SPLIT))
            found = guard_answers(store, store.round(1))
        if not lines:
            reach = " | ".join(f"pass@{k}" for k in ks)
            lines = [
                f"| strength | pass@1 | greedy | {reach} | tokens | pass@1, points (95 %) | guard |",
                "|---" * (6 + len(ks)) + "|",
                f"| 0 (base) | {share_cells(result['base'], ks)} | | |",
            ]
        change = Change(result["difference"], *result["interval_95"])
        verdict = "refuses" if found.refusals else "passes"
        lines.append(f"| {strength:g} | {share_cells(result['adapter'], ks)} | {change} | {verdict} |")
        guard.append(guard_line(f"Strength {strength:g}", found))
    return lines + guard


if __name__ == "__main__":
    main()
