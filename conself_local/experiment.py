"""`conself experiment FILE`: arms by seeds, each a home of its own, the same stages and store as any round; then one table.

    name = "does entropy help"
    limit = 40                            # as of `conself run`; also model, problems
    benchmarks = ["validation"]
    seeds = [0, 1, 2]
    settings = { evaluation_samples = 20 }  # of every arm
    [[arm]]
    name = "laptop"
    [[arm]]
    name = "plain DPO"
    settings = { pair_weight = "one" }    # any field of a round's settings, over the preset's
    [[arm]]
    name = "two rounds"
    rounds = 2

Arms that begin alike share the samples of a seed and the answers of the model before training; an arm goes on from the rounds of
another with the same settings and fewer rounds. What is done is not done again, so an experiment that was stopped goes on; what a
file of results holds (`experiment_results.py`) is not done on another computer either.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import sqlite3
import time
import tomllib
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conself_local.bundled import bundled_model
from conself_local.errors import ConselfError
from conself_local.evaluation.compare import compare, problem_scores
from conself_local.events import Notice, OnEvent
from conself_local.experiment_results import Arm, Begun, SeedResult, append_result, load_results
from conself_local.hashes import content_id, file_sha256
from conself_local.home import Home
from conself_local.problems.load import starter_sha256
from conself_local.round import Machine, Workshop, run_round, sample_base
from conself_local.session import BENCHMARKS, Request, open_round, package_versions
from conself_local.settings import PRESETS, settings_to_json
from conself_local.stages.evaluate import Benchmark, load_arms
from conself_local.store.store import RoundInfo, Store
from sandbox import MakeSandbox

_TOP = {"name", "model", "problems", "limit", "benchmarks", "seeds", "settings", "arm"}
_ARM = {"name", "preset", "settings", "rounds"}
SHARED_UNTIL = "grow"
"""Arms whose settings agree up to this stage share its samples."""
_AFTER_SHARED = {
    "max_crash_rate", "normaliser", "threshold", "rejected", "distinct_code", "min_share", "constant_chosen", "max_pairs", "pairing",
    "pair_weight", "beta", "lora_rank", "lora_alpha", "learning_rate", "epochs", "batch_pairs", "warmup_share", "max_gradient_norm",
    "max_tokens", "sft_weight", "max_displacement", "preset",
}  # fmt: skip
_SET_BENCHMARKS = "update rounds set request = json_set(request, '$.benchmarks', json(?))"


@dataclass(frozen=True)
class Experiment:
    name: str
    arms: tuple[Arm, ...]
    seeds: tuple[int, ...]
    benchmarks: tuple[str, ...]
    limit: int | None = None
    model: Path | None = None
    problems: Path | None = None

    def begun(self) -> Begun:
        """What every result of this experiment hangs on. Raises ConselfError for a file that is not there."""
        model = self.model or bundled_model()
        try:
            return Begun(file_sha256(model), file_sha256(self.problems) if self.problems else starter_sha256(), self.limit)
        except OSError as error:
            raise ConselfError(f"{error.filename} cannot be read: {error.strerror}", "mend the experiment's model or problems") from error

    def holds(self, latest: RoundInfo, arm: Arm, begun: Begun) -> bool:
        """Whether a home with this latest round is one of the arm: who edits an arm may leave its name as it was."""
        asked, problems = latest.request, str(self.problems.resolve()) if self.problems else None
        found = (latest.settings, latest.model_sha256, asked["problems"], asked["limit"], asked["benchmarks"])
        wanted = (arm.settings, begun.model_sha256, problems, self.limit, list(self.benchmarks))
        return latest.id <= arm.rounds and found == wanted

    def shared_name(self, arm: Arm, seed: int) -> str:
        """Of the folder with what arms share that begin alike: samples, grown inputs, answers before training.

        Another file's training problems are left out where a benchmark repeats them; the starter pack's splits are disjoint.
        """
        settings = {k: v for k, v in settings_to_json(arm.settings).items() if k not in _AFTER_SHARED}
        begun: dict[str, Any] = {"settings": settings, "model": str(self.model), "problems": str(self.problems), "limit": self.limit}
        if self.problems:
            begun["benchmarks"] = self.benchmarks
        return f"samples {content_id('sampling', begun)[:8]} {seed}"


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
        arms = tuple(_arm(table, values.get("settings", {})) for table in values.get("arm", []))
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


def _arm(table: dict[str, Any], of_every_arm: dict[str, Any]) -> Arm:
    if not isinstance(table.get("name"), str) or not table["name"]:
        raise ValueError("every [[arm]] needs a name")
    where = f"arm {table['name']}: "
    _verify_known(table, _ARM, where)
    preset, rounds = table.get("preset", "laptop"), table.get("rounds", 1)
    if preset not in PRESETS or type(rounds) is not int or rounds < 1:
        raise ValueError(f"{where}preset must be one of {', '.join(PRESETS)}, and rounds at least 1")
    base = PRESETS[preset]
    changed = {**of_every_arm, **table.get("settings", {})}
    _verify_known(changed, {f.name for f in dataclasses.fields(base)} - {"preset"}, where)
    for name, value in changed.items():
        known = getattr(base, name)
        if known is not None and not isinstance(value, type(known)) and not (isinstance(known, float) and type(value) is int):
            raise ValueError(f"{where}{name} must be of the kind of {known!r}, not {value!r}")
    return Arm(table["name"], dataclasses.replace(base, **changed), rounds)


def run_experiment(
    experiment: Experiment, folder: Path, machine: Machine, make_sandbox: Callable[[int], MakeSandbox], on_event: OnEvent,
    kept: Path | None = None,
) -> Iterator[SeedResult]:  # fmt: skip
    """Every arm for every seed, in `folder`; yields the results of an arm, one a benchmark, when it has ended.

    What the file `kept` holds is yielded as it is, under the arm's present name, and not run again; what is new is added to it.
    """
    begun, known = experiment.begun(), load_results(kept) if kept else []
    for seed in experiment.seeds:
        for arm in experiment.arms:
            found = {r.benchmark: r for name in experiment.benchmarks for r in known if r.is_of(arm, seed, name, begun)}
            if len(found) == len(experiment.benchmarks):
                yield from (dataclasses.replace(result, arm=arm) for result in found.values())
                continue
            on_event(Notice(f"experiment {experiment.name}: arm {arm.name}, seed {seed}"))
            for result in _run_arm(experiment, arm, seed, begun, folder, machine, make_sandbox, on_event):
                if kept and result.benchmark not in found:
                    append_result(kept, result)
                yield result


def _run_arm(
    experiment: Experiment, arm: Arm, seed: int, begun: Begun, folder: Path, machine: Machine, make_sandbox: Callable[[int], MakeSandbox],
    on_event: OnEvent,
) -> Iterator[SeedResult]:  # fmt: skip
    home = Home(_arm_folder(folder, arm, seed))
    latest = _latest_round(home)
    if latest is None:
        if shorter := _ended_shorter(experiment, arm, seed, begun, folder):
            _copy_rounds(shorter, home)
        else:
            shared = Home(folder / experiment.shared_name(arm, seed))
            with _timed(shared):
                _run_rounds(experiment, arm, seed, shared, machine, make_sandbox, on_event, 1, SHARED_UNTIL)
            _copy_shared(shared, home, experiment, arm)
    elif not experiment.holds(latest, arm, begun):
        raise ConselfError(
            f"{home.path} holds an arm of this name with other settings, rounds, model, problems or benchmarks",
            "give the arm another name, or name another --folder",
        )
    with _timed(home):
        benchmarks = _run_rounds(experiment, arm, seed, home, machine, make_sandbox, on_event, arm.rounds, "decide")
    with Store(home.database) as store:
        for benchmark in benchmarks:
            yield _result(store, arm, seed, begun, benchmark, _seconds(home))


def _arm_folder(folder: Path, arm: Arm, seed: int) -> Path:
    return folder / f"{arm.name.replace('/', '-')} {seed}"


def _latest_round(home: Home) -> RoundInfo | None:
    """None where none was begun; who only looks at a home leaves an empty store there."""
    if not home.database.exists():
        return None
    with Store(home.database) as store:
        return store.latest_round()


def _ended_shorter(experiment: Experiment, arm: Arm, seed: int, begun: Begun, folder: Path) -> Home | None:
    """Where the rounds lie that the arm begins with too: of the ended arm with its settings and the most rounds below its own."""
    alike = [one for one in experiment.arms if one.settings == arm.settings and one.rounds < arm.rounds]
    for one in sorted(alike, key=lambda one: -one.rounds):
        if (path := _arm_folder(folder, one, seed)).is_dir():
            latest = _latest_round(home := Home(path))
            if latest and latest.state == "done" and latest.id == one.rounds and experiment.holds(latest, one, begun):
                return home
    return None


@contextmanager
def _timed(home: Home) -> Iterator[None]:
    """Adds what is done within to the home's seconds, also when it is stopped."""
    begun = time.monotonic()
    try:
        yield
    finally:
        _keep_seconds(home, _seconds(home) + time.monotonic() - begun)


def _keep_seconds(home: Home, seconds: float) -> None:
    (home.path / "seconds").write_text(f"{seconds:.0f}", encoding="ascii")


def _seconds(home: Home) -> float:
    path = home.path / "seconds"
    return float(path.read_text(encoding="ascii")) if path.exists() else 0.0


def _run_rounds(
    experiment: Experiment, arm: Arm, seed: int, home: Home, machine: Machine, make_sandbox: Callable[[int], MakeSandbox],
    on_event: OnEvent, rounds: int, until: str,
) -> Sequence[Benchmark]:  # fmt: skip
    """What is missing of the arm's rounds; returns the benchmarks.

    Only the last round is judged on all of them; a round before it on the validation split, where that is one of them, which
    then decides whether the next round begins with its adapter. Without it, it does.
    """
    benchmarks: Sequence[Benchmark] = ()
    with home.lock(), Store(home.database) as store:
        while True:
            latest = store.latest_round()
            number = latest.id if latest else 0
            if latest and latest.state == "done" and number >= rounds:
                break
            fresh = latest is None or latest.state == "done"
            if fresh and latest and "validation" not in experiment.benchmarks:
                store.db.execute("update adapters set state = 'accepted' where round_id = ?", [latest.id])
            request = Request(
                experiment.model, experiment.problems, limit=experiment.limit, seed=seed + 1000 * number, benchmarks=experiment.benchmarks,
                settings=arm.settings,
            ) if fresh else Request()  # fmt: skip
            if not fresh and until != "decide":
                store.db.execute(_SET_BENCHMARKS, [json.dumps(experiment.benchmarks)])
            round_, model, benchmarks = open_round(store, request, make_sandbox(machine.workers))
            shop = Workshop(store, home, model, machine, make_sandbox(machine.workers), make_sandbox(machine.workers_beside), on_event)
            is_last = round_.id == arm.rounds
            run_round(shop, round_, [b for b in benchmarks if is_last or b.name == "validation"], until)
            if until != "decide":
                sample_base(shop, round_, list(benchmarks))
                break
        if not benchmarks:
            benchmarks = _benchmarks_of(store, experiment.benchmarks)
    return benchmarks


def _benchmarks_of(store: Store, names: Sequence[str]) -> list[Benchmark]:
    """As they were judged on, from the store."""
    sql = "select distinct problem_id from evaluation_samples where benchmark = ?"
    return [Benchmark(name, [store.problem(row["problem_id"]) for row in store.rows(sql, name)], 0) for name in names]


def _copy_shared(shared: Home, home: Home, experiment: Experiment, arm: Arm) -> None:
    """The shared store with the arm's own settings."""
    _copy_store(
        shared, home,
        ("update rounds set settings = ?", [json.dumps(settings_to_json(arm.settings))]),
        (_SET_BENCHMARKS, [json.dumps(experiment.benchmarks)]),
    )  # fmt: skip


def _copy_rounds(shorter: Home, home: Home) -> None:
    """The rounds of a shorter arm. How they did on benchmarks that only report stays its own result, and no look of this arm's."""
    if shorter.adapters.exists():
        shutil.copytree(shorter.adapters, home.adapters, dirs_exist_ok=True)
    _keep_seconds(home, _seconds(shorter))
    paths = [f"{shorter.path}{os.sep}", f"{home.path}{os.sep}"]
    _copy_store(
        shorter, home,
        ("update adapters set peft_path = replace(peft_path, ?, ?), gguf_path = replace(gguf_path, ?, ?)", paths * 2),
        ("delete from evaluations where benchmark != 'validation'", []),
        ("delete from evaluation_samples where benchmark != 'validation' and (arm = 'adapter' or round_id > 1)", []),
    )  # fmt: skip


def _copy_store(source: Home, target: Home, *changes: tuple[str, list[Any]]) -> None:
    """Changed as told; whole or not at all."""
    part = target.path / "conself.db.part"
    for left in (part, *target.path.glob("conself.db-*")):
        left.unlink(missing_ok=True)
    with closing(sqlite3.connect(source.database)) as old, closing(sqlite3.connect(part)) as new, new:
        old.backup(new)
        for change, values in changes:
            new.execute(change, values)
    part.rename(target.database)


def _result(store: Store, arm: Arm, seed: int, begun: Begun, benchmark: Benchmark, seconds: float) -> SeedResult:
    before = load_arms(store, store.round(1), benchmark)
    judged = "select round_id from evaluations where benchmark = ? order by round_id desc limit 1"
    last = store.value(judged, benchmark.name)
    after = load_arms(store, store.round(last), benchmark) if last else None
    arms = {"base": before["base"], "adapter": after["adapter"]} if after else {}
    scores = {side: tuple(score for _, score in sorted(problem_scores(samples).items())) for side, samples in arms.items()}
    tokens = "select coalesce(sum(json_array_length(token_ids)), 0) from samples"
    return SeedResult(
        arm, seed, benchmark.name, begun, compare(arms, seed=seed) if arms else None, scores.get("base", ()), scores.get("adapter", ()),
        int(store.value("select count(*) from pairs where not excluded")), int(store.value("select count(*) from training_steps")),
        int(store.value(tokens)) + int(store.value("select coalesce(sum(tokens), 0) from evaluation_samples")), seconds,
        int(store.value("select count(*) from evaluations where benchmark = ?", benchmark.name)),
        store.value("select gguf_sha256 from adapters order by id desc limit 1") or "", package_versions(),
    )  # fmt: skip
