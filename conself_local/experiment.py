"""`conself experiment FILE`: arms by seeds, each a home of its own, the same stages and store as any round; then one table.

    name = "does entropy help"
    limit = 40                            # as of `conself run`; also model, problems
    benchmarks = ["validation"]
    seeds = [0, 1, 2]
    [[arm]]
    name = "laptop"
    [[arm]]
    name = "plain DPO"
    settings = { pair_weight = "one" }    # any field of a round's settings, over the preset's
    [[arm]]
    name = "two rounds"
    rounds = 2

Arms that sample alike share the samples of a seed. What is done is not done again, so an experiment that was stopped goes on.
"""

from __future__ import annotations

import dataclasses
import json
import sqlite3
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from conself_local.errors import ConselfError
from conself_local.evaluation.compare import problem_scores
from conself_local.evaluation.statistics import bootstrap_over_seeds
from conself_local.events import Notice, OnEvent
from conself_local.home import Home
from conself_local.round import Machine, Workshop, run_round
from conself_local.session import BENCHMARKS, Request, open_round
from conself_local.settings import PRESETS, Settings, settings_to_json
from conself_local.stages.evaluate import Benchmark, load_arms
from conself_local.store.hashes import content_id
from conself_local.store.store import Store
from sandbox import MakeSandbox

_TOP = {"name", "model", "problems", "limit", "benchmarks", "seeds", "arm"}
_ARM = {"name", "preset", "settings", "rounds"}
SHARED_UNTIL = "grow"
"""Arms whose settings agree up to this stage share its samples."""
_AFTER_SHARED = {
    "max_crash_rate", "normaliser", "threshold", "rejected", "distinct_code", "max_pairs", "pairing", "pair_weight", "beta", "lora_rank",
    "lora_alpha", "learning_rate", "epochs", "batch_pairs", "warmup_share", "max_gradient_norm", "max_tokens", "sft_weight",
    "max_displacement", "evaluation_samples", "evaluation_temperature", "evaluation_top_p", "evaluation_max_new_tokens", "preset",
}  # fmt: skip


@dataclass(frozen=True)
class Arm:
    name: str
    settings: Settings
    rounds: int = 1

    @property
    def sampling_key(self) -> str:
        """Equal for arms that sample, run and grow alike."""
        values = {k: v for k, v in settings_to_json(self.settings).items() if k not in _AFTER_SHARED}
        return content_id("sampling", values)[:8]


@dataclass(frozen=True)
class Experiment:
    name: str
    arms: tuple[Arm, ...]
    seeds: tuple[int, ...]
    benchmarks: tuple[str, ...]
    limit: int | None = None
    model: Path | None = None
    problems: Path | None = None


@dataclass
class ArmResult:
    """One arm on one benchmark over all its seeds."""

    arm: str
    benchmark: str
    base: list[list[float]] = field(default_factory=list)
    """Per seed, per problem: the share of right samples before the arm's first round."""
    adapter: list[list[float]] = field(default_factory=list)
    pairs: int = 0
    gained: int = 0
    lost: int = 0
    parsed: list[tuple[float, float]] = field(default_factory=list)
    crashed: list[tuple[float, float]] = field(default_factory=list)


def read_experiment(path: Path) -> Experiment:
    """Raises ConselfError that names the field."""
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConselfError(f"{path} cannot be read: {error}", "the README shows the form of an experiment") from error
    try:
        _verify_known(values, _TOP, "")
        seeds, benchmarks = tuple(values.get("seeds", [0])), tuple(values.get("benchmarks", ["validation"]))
        if not seeds or not all(type(seed) is int for seed in seeds):
            raise ValueError("seeds must be whole numbers, as in seeds = [0, 1, 2]")
        if not benchmarks or set(benchmarks) - set(BENCHMARKS):
            raise ValueError(f"benchmarks must be some of {', '.join(BENCHMARKS)}")
        arms = tuple(_arm(table) for table in values.get("arm", []))
        if not arms or len({arm.name for arm in arms}) < len(arms):
            raise ValueError("give at least one [[arm]], each with a name of its own")
        near = path.resolve().parent
        return Experiment(
            str(values.get("name", path.stem)), arms, seeds, benchmarks, values.get("limit"),
            near / Path(values["model"]).expanduser() if "model" in values else None,
            near / Path(values["problems"]).expanduser() if "problems" in values else None,
        )  # fmt: skip
    except (ValueError, TypeError) as error:
        raise ConselfError(f"{path}: {error}", "mend it; the README shows the form of an experiment") from error


def _verify_known(values: dict[str, Any], known: set[str], where: str) -> None:
    unknown = sorted(set(values) - known)
    if unknown:
        raise ValueError(f"{where}unknown field {unknown[0]!r}; known are {', '.join(sorted(known))}")


def _arm(table: dict[str, Any]) -> Arm:
    if not isinstance(table.get("name"), str) or not table["name"]:
        raise ValueError("every [[arm]] needs a name")
    where = f"arm {table['name']}: "
    _verify_known(table, _ARM, where)
    preset, rounds = table.get("preset", "laptop"), table.get("rounds", 1)
    if preset not in PRESETS or type(rounds) is not int or rounds < 1:
        raise ValueError(f"{where}preset must be one of {', '.join(PRESETS)}, and rounds at least 1")
    base = PRESETS[preset]
    changed = table.get("settings", {})
    _verify_known(changed, {f.name for f in dataclasses.fields(base)} - {"preset"}, where)
    for name, value in changed.items():
        known = getattr(base, name)
        if known is not None and not isinstance(value, type(known)) and not (isinstance(known, float) and type(value) is int):
            raise ValueError(f"{where}{name} must be of the kind of {known!r}, not {value!r}")
    return Arm(table["name"], dataclasses.replace(base, **changed), rounds)


def run_experiment(
    experiment: Experiment, folder: Path, machine: Machine, make_sandbox: Callable[[int], MakeSandbox], on_event: OnEvent
) -> list[ArmResult]:
    """Every arm for every seed, in `folder`; returns one result an arm and benchmark."""
    results = {(arm.name, name): ArmResult(arm.name, name) for arm in experiment.arms for name in experiment.benchmarks}
    for seed in experiment.seeds:
        for arm in experiment.arms:
            on_event(Notice(f"experiment {experiment.name}: arm {arm.name}, seed {seed}"))
            _run_arm(experiment, arm, seed, folder, machine, make_sandbox, on_event, results)
    return list(results.values())


def _run_arm(
    experiment: Experiment, arm: Arm, seed: int, folder: Path, machine: Machine, make_sandbox: Callable[[int], MakeSandbox],
    on_event: OnEvent, results: dict[tuple[str, str], ArmResult],
) -> None:  # fmt: skip
    home = Home(folder / f"{arm.name.replace('/', '-')} {seed}")
    if not home.database.exists():
        shared = Home(folder / f"samples {arm.sampling_key} {seed}")
        _run_rounds(experiment, arm, seed, shared, machine, make_sandbox, on_event, 1, SHARED_UNTIL)
        _copy_samples(shared, home, arm)
    benchmarks = _run_rounds(experiment, arm, seed, home, machine, make_sandbox, on_event, arm.rounds, "decide")
    with Store(home.database) as store:
        for benchmark in benchmarks:
            _add(results[arm.name, benchmark.name], store, arm.rounds, benchmark)


def _run_rounds(
    experiment: Experiment, arm: Arm, seed: int, home: Home, machine: Machine, make_sandbox: Callable[[int], MakeSandbox],
    on_event: OnEvent, rounds: int, until: str,
) -> Sequence[Benchmark]:  # fmt: skip
    """What is missing of the arm's rounds; returns the benchmarks."""
    benchmarks: Sequence[Benchmark] = ()
    with home.lock(), Store(home.database) as store:
        while True:
            latest = store.latest_round()
            number = latest.id if latest else 0
            if latest and latest.state == "done" and number >= rounds:
                break
            fresh = latest is None or latest.state == "done"
            request = Request(
                experiment.model, experiment.problems, limit=experiment.limit, seed=seed + 1000 * number, benchmarks=experiment.benchmarks,
                settings=arm.settings,
            ) if fresh else Request()  # fmt: skip
            round_, model, benchmarks = open_round(store, request, make_sandbox(machine.workers))
            shop = Workshop(store, home, model, machine, make_sandbox(machine.workers), make_sandbox(machine.workers_beside), on_event)
            run_round(shop, round_, list(benchmarks), until)
            if until != "decide":
                break
        if not benchmarks:
            benchmarks = _benchmarks_of(store, experiment.benchmarks)
    return benchmarks


def _benchmarks_of(store: Store, names: Sequence[str]) -> list[Benchmark]:
    """As they were judged on, from the store."""
    sql = "select distinct problem_id from evaluation_samples where benchmark = ?"
    return [Benchmark(name, [store.problem(row["problem_id"]) for row in store.rows(sql, name)], 0) for name in names]


def _copy_samples(shared: Home, home: Home, arm: Arm) -> None:
    """The shared store with the arm's own settings; whole or not at all."""
    part = home.path / "conself.db.part"
    part.unlink(missing_ok=True)
    with sqlite3.connect(shared.database) as source, sqlite3.connect(part) as target:
        source.backup(target)
        target.execute("update rounds set settings = ?", [json.dumps(settings_to_json(arm.settings))])
    target.close()
    source.close()
    part.rename(home.database)


def _add(result: ArmResult, store: Store, rounds: int, benchmark: Benchmark) -> None:
    """The first round's model before it against the last round's model after it, on the same problems."""
    if not store.value("select 1 from evaluations where round_id = 1 and benchmark = ?", benchmark.name):
        return
    first, last = store.round(1), store.round(rounds)
    before = problem_scores(load_arms(store, first, benchmark)["base"])
    trained = store.value("select 1 from evaluations where round_id = ? and benchmark = ?", rounds, benchmark.name)
    arms = load_arms(store, last, benchmark) if trained else load_arms(store, first, benchmark)
    after = problem_scores(arms["adapter"])
    problems = sorted(before.keys() & after.keys())
    if not problems:
        return
    result.base.append([before[p] for p in problems])
    result.adapter.append([after[p] for p in problems])
    result.pairs += int(store.value("select count(*) from pairs where not excluded"))
    stored = store.value("select result from evaluations where round_id = ? and benchmark = ?", rounds, benchmark.name)
    if stored:
        values = json.loads(stored)
        result.gained += len(values["gained"])
        result.lost += len(values["lost"])
        result.parsed.append((values["base"]["parsed_share"], values["adapter"]["parsed_share"]))
        result.crashed.append((values["base"]["crashed_share"], values["adapter"]["crashed_share"]))


def table_lines(results: Sequence[ArmResult]) -> list[str]:
    """Markdown: pass@1 before and after in percent, the difference in points with its interval, and what it came of."""
    lines = [
        "| arm | benchmark | seeds | problems | pairs | base | adapter | difference, points (95 %) | gained, lost | parsed | crashed |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for one in results:
        if not one.base:
            lines.append(f"| {one.arm} | {one.benchmark} | 0 | | {one.pairs} | | | no adapter was trained | | | |")
            continue
        difference, low, high = bootstrap_over_seeds(one.base, one.adapter, seed=0)
        before, after = (100 * sum(map(sum, rows)) / (len(rows) * len(rows[0])) for rows in (one.base, one.adapter))
        shares = [_mean_change(changes) for changes in (one.parsed, one.crashed)]
        lines.append(
            f"| {one.arm} | {one.benchmark} | {len(one.base)} | {len(one.base[0])} | {one.pairs} | {before:.1f} | {after:.1f} | "
            f"{100 * difference:+.1f} ({100 * low:+.1f} to {100 * high:+.1f}) | +{one.gained} -{one.lost} | {shares[0]} | {shares[1]} |"
        )
    return lines


def _mean_change(changes: Sequence[tuple[float, float]]) -> str:
    if not changes:
        return ""
    before, after = (sum(change[i] for change in changes) / len(changes) for i in (0, 1))
    return f"{before:.2f} -> {after:.2f}"
