"""Run an experiment (`conself experiment FILE`): every arm for every seed, each in its own home.

The file is TOML:

    name = "does entropy help"
    limit = 40                            # as in `conself run`; also model, problems
    benchmarks = ["validation"]
    # weights = { held-out = 0.4, humaneval = 0.2 }: how the benchmarks that only report count together
    seeds = [0, 1, 2]
    settings = { evaluation.samples = 20 }  # for every arm
    [[arm]]
    name = "laptop"
    [[arm]]
    name = "plain DPO"
    settings = { pairs.weight = "one" }     # any field of a round's settings; overrides the preset
    [[arm]]
    name = "two rounds"
    rounds = 2
    [[arm]]
    name = "pairs of my own"
    pairs = "pairs.jsonl.gz"              # trains on this file, written by `conself pairs --to` or by hand

An arm uses the same stages and store as any round. Arms with equal sampling settings share the samples of a seed and
the model's answers before training; an arm that trains on a file of pairs has no samples. An arm continues from the
rounds of another arm with the same settings and fewer rounds. Finished work is not repeated, so an experiment that was
stopped continues; results in a file (`results.py`) are not computed again, on another computer either.
Not covered: the check of the file (`spec.py`) and the table of results (`table.py`).
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import sqlite3
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from conself_local.errors import ConselfError
from conself_local.evaluation.compare import compare, problem_scores
from conself_local.events import Notice, NoticeKind, OnEvent
from conself_local.experiment.results import Arm, ExperimentInputs, SeedResult, append_result, load_results
from conself_local.experiment.spec import SHARED_UNTIL, Experiment
from conself_local.home import Home
from conself_local.machine.child_log import keep_child_logs
from conself_local.machine.versions import package_versions
from conself_local.round.context import ComputeOptions, RoundContext, workers_beside_engine
from conself_local.round.log import RoundLog
from conself_local.round.recorder import NoticeRecorder
from conself_local.round.run import run_round, sample_base
from conself_local.round.start import Request, open_round
from conself_local.settings import settings_to_json
from conself_local.stages.benchmark import Benchmark
from conself_local.stages.judged import load_arms
from conself_local.stages.train_pairs import PAIRS_FILE, PAIRS_SHA256
from conself_local.store.model_changes import verify_unchanged
from conself_local.store.store import TOKENS, RoundInfo, Store
from sandbox import MakeSandbox

_FORGET_ANSWERS = """delete from evaluation_samples where benchmark != 'validation' and answer_id is null
    and (arm = 'adapter' or round_id > 1)"""
_ANSWER_TOKENS = """select coalesce(sum(tokens), 0)
    from (select max(tokens) as tokens from evaluation_samples group by coalesce(answer_id, id))"""
_SET_BENCHMARKS = "update rounds set request = json_set(request, '$.benchmarks', json(?))"
_SET_PAIRS = f"update rounds set request = json_set(request, '$.{PAIRS_FILE}', ?, '$.{PAIRS_SHA256}', ?)"


def run_experiment(
    experiment: Experiment,
    folder: Path,
    compute: ComputeOptions,
    make_sandbox: Callable[[int], MakeSandbox],
    on_event: OnEvent,
    results_file: Path | None = None,
    only: Collection[str] = (),
) -> Iterator[SeedResult]:
    """Run every arm for every seed in `folder`, and yield an arm's results, one per benchmark, when it has finished.

    Results in `results_file` are yielded as they are, under the arm's present name, and not computed again; new results
    are appended to it. `only` names the arms to run, all if it is empty; known results of the others are yielded too.
    Raises ConselfError if a home in `folder` belongs to another arm, or if a round fails.
    """
    if unknown := sorted(set(only) - {arm.name for arm in experiment.arms}):
        names = ", ".join(arm.name for arm in experiment.arms)
        raise ConselfError(f"{experiment.name} has no arm {unknown[0][:100]!r}", f"choose from {names}")
    inputs, known = experiment.inputs(), load_results(results_file) if results_file else []
    for seed in experiment.seeds:
        for arm in experiment.arms:
            found = {
                r.benchmark: r for name in experiment.benchmarks for r in known if r.is_of(arm, seed, name, inputs)
            }
            if len(found) == len(experiment.benchmarks):
                yield from (dataclasses.replace(result, arm=arm) for result in found.values())
                continue
            if only and arm.name not in only:
                continue
            on_event(Notice(f"experiment {experiment.name}: arm {arm.name}, seed {seed}", NoticeKind.EXPERIMENT))
            for result in _run_arm(experiment, arm, seed, inputs, folder, compute, make_sandbox, on_event):
                if results_file and result.benchmark not in found:
                    append_result(results_file, result)
                yield result


def _run_arm(
    experiment: Experiment,
    arm: Arm,
    seed: int,
    inputs: ExperimentInputs,
    folder: Path,
    compute: ComputeOptions,
    make_sandbox: Callable[[int], MakeSandbox],
    on_event: OnEvent,
) -> Iterator[SeedResult]:
    home = Home(_arm_folder(folder, arm, seed))
    latest = _latest_round(home)
    if latest is None:
        if shorter := _find_shorter(experiment, arm, seed, inputs, folder):
            _copy_rounds(shorter, home)
        else:
            shared = Home(folder / experiment.shared_name(arm, seed))
            with _timed(shared):
                _run_rounds(experiment, arm, seed, shared, compute, make_sandbox, on_event, 1, SHARED_UNTIL)
            _copy_shared(shared, home, experiment, arm)
    elif not experiment.holds(latest, arm, inputs):
        if latest.model_path == experiment.model_file().path:
            began, instead = f"the arm {arm.name} began", "choose another --folder"
            verify_unchanged(latest.model_path, inputs.model_sha256, latest.model_sha256, began, instead)
        raise ConselfError(
            f"{home.path} holds an arm of this name with other settings, rounds, model, problems, benchmarks or pairs",
            "give the arm another name, or choose another --folder",
        )
    with _timed(home):
        benchmarks = _run_rounds(experiment, arm, seed, home, compute, make_sandbox, on_event, arm.rounds, "decide")
    with Store(home.database) as store:
        for benchmark in benchmarks:
            yield _result(store, arm, seed, inputs, benchmark, _seconds(home))


def _arm_folder(folder: Path, arm: Arm, seed: int) -> Path:
    return folder / f"{arm.name.replace('/', '-')} {seed}"


def _latest_round(home: Home) -> RoundInfo | None:
    """Return the home's latest round, or None if no round has begun.

    Opening a home creates an empty store, so an existing store may hold no round.
    """
    if not home.database.exists():
        return None
    with Store(home.database) as store:
        return store.latest_round()


def _find_shorter(experiment: Experiment, arm: Arm, seed: int, inputs: ExperimentInputs, folder: Path) -> Home | None:
    """Return the home of the finished arm with equal settings and the most rounds below this arm's, or None."""
    kin = [other for other in experiment.arms if dataclasses.replace(other, name=arm.name, rounds=arm.rounds) == arm]
    shorter = [other for other in kin if other.rounds < arm.rounds]
    for other in sorted(shorter, key=lambda other: -other.rounds):
        if (path := _arm_folder(folder, other, seed)).is_dir():
            latest = _latest_round(home := Home(path))
            if (
                latest
                and latest.state == "done"
                and latest.id == other.rounds
                and experiment.holds(latest, other, inputs)
            ):
                return home
    return None


@contextmanager
def _timed(home: Home) -> Iterator[None]:
    """Add the time spent inside the context to the home's seconds, also if it is interrupted."""
    started = time.monotonic()
    try:
        yield
    finally:
        _save_seconds(home, _seconds(home) + time.monotonic() - started)


def _save_seconds(home: Home, seconds: float) -> None:
    (home.path / "seconds").write_text(f"{seconds:.0f}", encoding="ascii")


def _seconds(home: Home) -> float:
    path = home.path / "seconds"
    return float(path.read_text(encoding="ascii")) if path.exists() else 0.0


def _run_rounds(
    experiment: Experiment,
    arm: Arm,
    seed: int,
    home: Home,
    compute: ComputeOptions,
    make_sandbox: Callable[[int], MakeSandbox],
    on_event: OnEvent,
    rounds: int,
    until: str,
) -> Sequence[Benchmark]:
    """Run the rounds that the arm still lacks, up to the stage `until`, and return the benchmarks.

    Only the last round is judged on all benchmarks. If the validation split is one of them, an earlier round is judged
    on it, and the result decides whether the next round starts from its adapter; otherwise the next round always does.
    """
    benchmarks: Sequence[Benchmark] = ()
    keep_child_logs(home.logs)
    with home.lock(), Store(home.database) as store:
        while True:
            latest = store.latest_round()
            number = latest.id if latest else 0
            if latest and latest.state == "done" and number >= rounds:
                break
            fresh = latest is None or latest.state == "done"
            if fresh and latest and "validation" not in experiment.benchmarks:
                store.db.execute("update adapters set state = 'accepted' where round_id = ?", [latest.id])
            request = (
                Request(
                    experiment.model,
                    experiment.problems,
                    limit=experiment.limit,
                    seed=seed + 1000 * number,
                    benchmarks=experiment.benchmarks,
                    settings=arm.settings,
                    pairs_file=arm.pairs_file,
                )
                if fresh
                else Request()
            )
            if not fresh and until != "decide":
                store.db.execute(_SET_BENCHMARKS, [json.dumps(experiment.benchmarks)])
            if not fresh and arm.pairs_file:  # it may have moved
                store.db.execute(*_set_pairs(arm))
            round_, model, benchmarks = open_round(store, request, make_sandbox(compute.workers))
            is_last = round_.id == arm.rounds
            title = f"experiment {experiment.name}: arm {arm.name}, seed {seed}, round {round_.id}"
            with (
                RoundLog(home, title, on_event) as log,
                NoticeRecorder(store, round_.id, log.on_event) as recorder,
            ):
                context = RoundContext(
                    store,
                    home,
                    model,
                    compute,
                    make_sandbox(compute.workers),
                    make_sandbox(workers_beside_engine(compute, model)),
                    recorder.on_event,
                )
                run_round(context, round_, [b for b in benchmarks if is_last or b.name == "validation"], until)
                if until != "decide":
                    sample_base(context, round_, list(benchmarks))
            if until != "decide":
                break
        if not benchmarks:
            benchmarks = _benchmarks_of(store, experiment.benchmarks)
    return benchmarks


def _benchmarks_of(store: Store, names: Sequence[str]) -> list[Benchmark]:
    """Return the named benchmarks with the problems that the store has answers for."""
    sql = "select distinct problem_id from evaluation_samples where benchmark = ?"
    return [Benchmark(name, [store.problem(row["problem_id"]) for row in store.rows(sql, name)], 0) for name in names]


def _copy_shared(shared: Home, home: Home, experiment: Experiment, arm: Arm) -> None:
    """Copy the shared store, and give its round the settings, the benchmarks and the file of pairs of the arm."""
    _copy_store(
        shared,
        home,
        ("update rounds set settings = ?", [json.dumps(settings_to_json(arm.settings))]),
        (_SET_BENCHMARKS, [json.dumps(experiment.benchmarks)]),
        *([_set_pairs(arm)] if arm.pairs_file else []),
    )


def _set_pairs(arm: Arm) -> tuple[str, list[Any]]:
    """Return the change that names the file of pairs of an arm in its round."""
    assert arm.pairs_file, "the caller has asked"
    return _SET_PAIRS, [str(arm.pairs_file.resolve()), arm.pairs_sha256]


def _copy_rounds(shorter: Home, home: Home) -> None:
    """Copy the rounds of a shorter arm.

    Their results on benchmarks that only report (all but `validation`) are removed from the copy: they belong to the
    shorter arm, and this arm has not been judged on those benchmarks. Answers with an address stay: the next round
    starts from an adapter that has answered already.
    """
    if shorter.adapters.exists():
        shutil.copytree(shorter.adapters, home.adapters, dirs_exist_ok=True)
    _save_seconds(home, _seconds(shorter))
    paths = [f"{shorter.path}{os.sep}", f"{home.path}{os.sep}"]
    _copy_store(
        shorter,
        home,
        ("update adapters set peft_path = replace(peft_path, ?, ?), path = replace(path, ?, ?)", paths * 2),
        ("delete from evaluations where benchmark != 'validation'", []),
        (_FORGET_ANSWERS, []),
    )


def _copy_store(source: Home, target: Home, *changes: tuple[str, list[Any]]) -> None:
    """Copy a store and apply `changes` (SQL, parameters); the target appears only when it is complete."""
    part = target.path / "conself.db.part"
    for leftover in (part, *target.path.glob("conself.db-*")):
        leftover.unlink(missing_ok=True)
    with closing(sqlite3.connect(source.database)) as old, closing(sqlite3.connect(part)) as new, new:
        old.backup(new)
        for change, values in changes:
            new.execute(change, values)
    part.rename(target.database)


def _result(
    store: Store, arm: Arm, seed: int, inputs: ExperimentInputs, benchmark: Benchmark, seconds: float
) -> SeedResult:
    before = load_arms(store, store.round(1), benchmark)
    judged = "select round_id from evaluations where benchmark = ? order by round_id desc limit 1"
    last = store.value(judged, benchmark.name)
    after = load_arms(store, store.round(last), benchmark) if last else None
    arms = {"base": before["base"], "adapter": after["adapter"]} if after else {}
    scores = {
        side: tuple(score for _, score in sorted(problem_scores(samples).items())) for side, samples in arms.items()
    }
    tokens = f"select coalesce(sum({TOKENS}), 0) from samples"
    # the bank of a later round holds answers of the model that it started from, not of the base
    stored = store.value("select result from evaluations where round_id = ? and benchmark = ?", last, benchmark.name)
    ranking = json.loads(stored).get("ranking") if stored and last == 1 else None
    return SeedResult(
        arm,
        seed,
        benchmark.name,
        inputs,
        compare(arms, seed=seed, ranking=ranking) if arms else None,
        scores.get("base", ()),
        scores.get("adapter", ()),
        arm.pairs or int(store.value("select count(*) from pairs where not excluded")),
        int(store.value("select count(*) from training_steps")),
        int(store.value(tokens)) + int(store.value(_ANSWER_TOKENS)),
        seconds,
        int(store.value("select count(*) from evaluations where benchmark = ?", benchmark.name)),
        store.value("select sha256 from adapters order by id desc limit 1") or "",
        package_versions(),
    )
