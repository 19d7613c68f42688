"""Open a round from what the user asked for: the model, the problems, the benchmarks, and the round to continue.

Everything that must be checked before work begins is checked here; each error says what to do. Memory and disk are
checked later, when they are needed, and the stages are run by `run.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from conself_local.errors import ConselfError
from conself_local.events import START, Notice, NoticeKind
from conself_local.hashes import file_sha256
from conself_local.machine.versions import package_versions
from conself_local.model_files.bundled import bundled_model
from conself_local.model_files.model import Model, open_model
from conself_local.model_files.trainable import verify_rank, verify_trainable
from conself_local.problems.formats.human_eval import packaged_file
from conself_local.problems.load import LoadedProblems, load_problems, load_starter, sample_indices
from conself_local.problems.overlap import Overlap, Repeats, exclusion_reason
from conself_local.problems.problem import Problem
from conself_local.round.own_questions import own_problems
from conself_local.round.presets import SettingsChoice
from conself_local.settings import LAPTOP, Settings, change_settings, get_value, settings_of_later_round
from conself_local.stages.answers import evaluation_seed
from conself_local.stages.benchmark import ARMS, Benchmark
from conself_local.stages.seeds import MAX_SEED
from conself_local.stages.train_pairs import PAIRS_FILE, PAIRS_SHA256
from conself_local.store.events import store_notice
from conself_local.store.kept_questions import MINE, PREFIX
from conself_local.store.model_changes import accepted_adapter, verify_unchanged
from conself_local.store.pooling import voted_problems
from conself_local.store.store import RoundInfo, Store
from sandbox import MakeSandbox

BENCHMARKS = ("validation", "held-out", "humaneval")
DEFAULT_BENCHMARKS = ("validation", "held-out")
EXCLUDED = "problems left out"
"""Name in the table `stages` under which the excluded training problems are listed: repeated, or in a benchmark."""


@dataclass(frozen=True)
class Request:
    """The options of `conself run` that decide which round is opened; None: not given."""

    model: Path | None = None
    problems: Path | None = None
    """A problems file, or `mine` for the user's own questions alone."""
    with_mine: bool = False
    """Whether the user's own questions train too, beside the file or the starter pack."""
    choice: SettingsChoice = field(default_factory=SettingsChoice)
    """The preset and the settings that differ from it."""
    limit: int | None = None
    seed: int | None = None
    """None: that of `next_seed`."""
    benchmarks: tuple[str, ...] | None = None
    ask_for_inputs: bool = False
    """Whether the model proposes test inputs too."""
    settings: Settings | None = None
    """The settings of an experiment's arm; they replace the choice."""
    pairs_file: Path | None = None
    """A file of pairs to train on; nothing is sampled then."""
    from_base: bool = False
    """Whether to start from the base model instead of the latest accepted adapter."""
    new: bool = False
    """Whether to abandon an unfinished round instead of continuing it."""
    trains: bool = True
    """Whether the round is to be run to its training or beyond, so that the model must be one that can be trained."""


def open_round(store: Store, request: Request, make_sandbox: MakeSandbox) -> tuple[RoundInfo, Model, list[Benchmark]]:
    """Return the unfinished round of this home or a new one as requested, with its model and its benchmarks.

    Raises ConselfError if the request contradicts the unfinished round, its model file has changed, the adapter that
    the round would begin with is missing, no training problem can be used, a file or a benchmark is unknown or broken,
    or the model cannot be trained although it is to be.
    """
    latest = store.latest_round()
    unfinished = latest if latest is not None and latest.state == "running" else None
    if unfinished is not None and not request.new:
        return _reopen(store, unfinished, request, make_sandbox)
    return _start(store, request, make_sandbox, unfinished)


def _start(
    store: Store, request: Request, make_sandbox: MakeSandbox, unfinished: RoundInfo | None
) -> tuple[RoundInfo, Model, list[Benchmark]]:
    """Store a new round as requested, on the latest accepted adapter of the model unless `from_base`.

    `unfinished` is the round to abandon, which happens only when nothing is wrong with the request.
    """
    settings = request.settings or request.choice.settings()
    if request.ask_for_inputs:
        inputs = settings.augmentation.max_inputs or LAPTOP.augmentation.max_inputs
        settings = change_settings(settings, {"augmentation.ask_model": True, "augmentation.max_inputs": inputs})
    model = open_model(request.model or bundled_model())
    if request.trains:
        verify_trainable(model)
        verify_rank(model, settings.training.lora_rank)
    loaded = _load(request.problems, make_sandbox)
    mine, excluded_mine = own_problems(store) if _takes_mine(request) else ([], [])
    latest = store.latest_round()
    seed = next_seed(store) if request.seed is None else request.seed
    first_seed = evaluation_seed(latest) if latest else seed
    names = request.benchmarks if request.benchmarks is not None else DEFAULT_BENCHMARKS
    benchmarks = load_benchmarks(names, loaded, settings.evaluation.samples, make_sandbox)
    clean, excluded = without_overlap([*mine, *loaded.of("train")], [p for b in benchmarks for p in b.problems])
    training = _pick_training(clean, request.limit, first_seed if settings.pairs.pool_rounds else seed)
    excluded = excluded_mine + excluded
    if not training:
        verb = "mine" if request.problems == Path(MINE) else "check"
        raise ConselfError(
            f"{request.problems} has no training problem that can be used", f"run `conself problems {verb}` to see why"
        )
    if {problem.id for problem in training} <= voted_problems(store, model.sha256, model.template_hash):
        settings = settings_of_later_round(settings)
    base = None if request.from_base else accepted_adapter(store, model)
    store.adapter_file(base)  # a round whose first adapter is gone could never be continued
    stored_request: dict[str, Any] = {
        "problems": _stored_problems(request.problems),
        "with_mine": request.with_mine,
        "limit": request.limit,
        "benchmarks": list(names),
        "evaluation_samples": sum(len(ARMS) * len(b.problems) * (1 + b.samples) for b in benchmarks),
        "evaluation_seed": first_seed,
    }
    if file := request.pairs_file:
        stored_request |= {PAIRS_FILE: str(file.resolve()), PAIRS_SHA256: file_sha256(file)}
    if unfinished is not None:
        store.db.table("rounds").update(unfinished.id, {"state": "abandoned"})
    round_ = store.start_round(
        seed=seed,
        settings=settings,
        model_path=model.path,
        model_sha256=model.sha256,
        template_hash=model.template_hash,
        base_adapter_id=base,
        versions=package_versions(),
        request=stored_request,
        problems=training,
    )
    if excluded:
        summary = f"{len(excluded)} training problems excluded: {'; '.join(excluded[:5])}"
        store.finish_stage(round_.id, EXCLUDED, summary)
        store_notice(store, round_.id, START, Notice(summary, NoticeKind.PROBLEMS_EXCLUDED))
    return round_, model, benchmarks


def next_seed(store: Store) -> int:
    """Return the seed of a new round for which the user chose none: 1 more than the highest seed so far, 0 at first.

    With an old seed a round on the same adapter would draw the same programs again, and votes would count them twice.
    Seeds that earlier versions took and that are too large now do not count.
    """
    return int(store.value("select coalesce(max(seed), -1) + 1 from rounds where seed < ?", MAX_SEED))


def _reopen(
    store: Store, round_: RoundInfo, request: Request, make_sandbox: MakeSandbox
) -> tuple[RoundInfo, Model, list[Benchmark]]:
    """Load the model and the benchmarks of an unfinished round. Raises ConselfError if the request contradicts it."""
    stored_request = round_.request
    different = [
        name
        for name, given, stored in (
            ("--model", request.model and _stored_path(request.model), str(round_.model_path)),
            ("--problems", _stored_problems(request.problems), stored_request["problems"]),
            ("--with-mine", request.with_mine or None, stored_request.get("with_mine", False)),
            ("--preset", request.choice.preset, round_.settings.preset),
            ("--limit", request.limit, stored_request["limit"]),
            ("--seed", request.seed, round_.seed),
        )
        if given is not None and given != stored
    ]
    different += [name for name, given in request.choice.changes.items() if _differs(round_.settings, name, given)]
    if different:
        raise ConselfError(
            f"round {round_.id} is not finished, and it was started with a different {', '.join(different)}",
            "omit these options to continue it, or add --new to abandon it and start another",
        )
    model = open_model(round_.model_path)
    instead = "abandon the round and start one on the new file, with a new line of adapters: --new --from-base"
    verify_unchanged(model.path, model.sha256, round_.model_sha256, f"round {round_.id} began", instead)
    if request.trains:
        verify_trainable(model)
        verify_rank(model, round_.settings.training.lora_rank)
    loaded = _load(Path(stored_request["problems"]) if stored_request["problems"] else None, make_sandbox)
    benchmarks = load_benchmarks(stored_request["benchmarks"], loaded, round_.settings.evaluation.samples, make_sandbox)
    return round_, model, benchmarks


def _differs(settings: Settings, name: str, given: object) -> bool:
    """Return whether a round was begun with another value of a setting than the given one.

    `pairs.later_programs` replaces the number of programs, so whatever number was given is then the one it began with.
    """
    programs = settings.sampling.programs_per_observation
    replaced = settings.pairs.pool_rounds and programs == settings.pairs.later_programs
    if name == "sampling.programs_per_observation" and replaced:
        return False
    return bool(given != get_value(settings, name))


def _stored_path(model: Path) -> str:
    """Return the path under which a model is stored: of a split one, the path of the first part."""
    return str(open_model(model).path if model.exists() else model.resolve())


def without_overlap(training: Sequence[Problem], judged_on: Sequence[Problem]) -> tuple[list[Problem], list[str]]:
    """Return (the problems to train on, one sentence for each excluded problem).

    Excluded are problems that repeat an earlier one, or that say the same as a problem of `judged_on`, the problems of
    the benchmarks.
    """
    overlap, repeats = Overlap(judged_on), Repeats()
    clean, excluded = [], []
    for problem in training:
        if reason := exclusion_reason(problem, overlap, repeats):
            excluded.append(reason[1])
        else:
            clean.append(problem)
    return clean, excluded


def _takes_mine(request: Request) -> bool:
    return request.with_mine or request.problems == Path(MINE)


def _stored_problems(path: Path | None) -> str | None:
    """Return how a round stores which problems were asked for: a whole path, or `mine`."""
    if path is None:
        return None
    return MINE if path == Path(MINE) else str(path.resolve())


def _pick_training(clean: Sequence[Problem], limit: int | None, seed: int) -> list[Problem]:
    """Return the problems to train on: the limit draws from those of the file, and all of the user's own stay.

    seed: that of the round; that of the home's first round if votes are pooled, so that the problems stay the same.
    """
    mine = [problem for problem in clean if problem.id.startswith(PREFIX)]
    others = [problem for problem in clean if not problem.id.startswith(PREFIX)]
    return mine + pick_problems(others, limit, seed)


def _load(path: Path | None, make_sandbox: MakeSandbox) -> LoadedProblems:
    """Return the problems of the user's file, the starter pack if none was given, or nothing for `mine`."""
    if path == Path(MINE):
        return LoadedProblems((), ())
    return load_problems(path, make_sandbox) if path else LoadedProblems(tuple(load_starter()), ())


def pick_problems(problems: Sequence[Problem], limit: int | None, seed: int) -> list[Problem]:
    """Return all problems, or `limit` of them drawn by the seed, in their given order.

    Raises ConselfError if `limit` is below 1.
    """
    if limit is None or limit >= len(problems):
        return list(problems)
    if limit < 1:
        raise ConselfError(f"--limit must be at least 1, not {limit}", "omit the option to take every problem")
    drawn = sample_indices(len(problems), limit, seed)
    return [p for i, p in enumerate(problems) if i in drawn]


def load_benchmarks(
    names: Sequence[str], loaded: LoadedProblems, samples: int, make_sandbox: MakeSandbox
) -> list[Benchmark]:
    """Return the named benchmarks, each with `samples` samples per problem.

    Validation and held-out problems are those of the user's file if it has any, else those of the starter pack.
    Raises ConselfError for an unknown name.
    """
    benchmarks = []
    for name in names:
        if name == "humaneval":
            benchmarks.append(Benchmark(name, load_problems(packaged_file(), make_sandbox).problems, samples))
        elif name == "validation":
            benchmarks.append(Benchmark(name, loaded.of("validation") or load_starter(("validation",)), samples))
        elif name == "held-out":
            benchmarks.append(Benchmark(name, loaded.of("held-out") or load_starter(("held-out",)), samples))
        else:
            raise ConselfError(f"there is no benchmark {name!r}", f"choose from {', '.join(BENCHMARKS)}")
    return benchmarks
