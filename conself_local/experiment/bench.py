"""Let several models answer the same problems, to see which is best at them, and which prompt asks a model best.

The answers are stored in a home of their own below `experiments/`, one for each set of problems, item by item: a run
that was killed continues, and a later run with other models, or with more samples, repeats nothing. A round of that
home holds the answers of one model with one adapter to one prompt. Seconds are those of sampling: answers are sampled
side by side, so a problem takes the whole time divided by the number of problems.
Not covered: the table (`evaluation/bench.py`), and whether a model is fast alone.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conself_local.errors import ConselfError
from conself_local.evaluation.bench import ArmAnswers, bench_result
from conself_local.events import Event, ItemStored, Notice, NoticeKind, OnEvent, StageStarted
from conself_local.hashes import content_id
from conself_local.home import Home
from conself_local.machine.versions import package_versions
from conself_local.model_files.model import Model, adapter_sha256
from conself_local.problems.load import LoadedProblems, load_problems
from conself_local.problems.problem import Problem
from conself_local.round.context import ComputeOptions, RoundContext
from conself_local.round.run import answer_source, open_engine
from conself_local.round.start import BENCHMARKS, load_benchmarks, pick_problems
from conself_local.sampling.sampler import Sampler
from conself_local.settings import LAPTOP, Prompt, Settings, replace_values, shared_values
from conself_local.stages.bench import load_bench_answers
from conself_local.stages.benchmark import Benchmark
from conself_local.stages.evaluate import sample_and_run
from conself_local.store.store import RoundInfo, Store
from sandbox import MakeSandbox

BENCH = "bench"
_KINDS = ("greedy", "sampled")
_COUNT = """select count(*) from evaluation_samples v join problems q on q.id = v.problem_id
            where v.round_id = ? and v.number < ? and (v.correct is not null or (q.reference is null
            and (v.program_id is null or v.program_id in (select program_id from executions))))"""
"""Counts the answers that are judged, or that have run if nothing judges them."""


@dataclass(frozen=True)
class BenchArm:
    """A model with an adapter, or None for the model alone, and the prompt with which it is asked."""

    label: str
    model: Model
    adapter: Path | None
    prompt: Prompt = LAPTOP.sampling.prompt

    @property
    def settings(self) -> Settings:
        """The settings under which it answers: `laptop` with its prompt."""
        return replace_values(LAPTOP, {"sampling.prompt": self.prompt})


@dataclass(frozen=True)
class BenchPlan:
    """What is asked, and how often."""

    benchmark: str
    """Its name for the table."""
    problems: Sequence[Problem]
    samples: int
    """Samples per problem beside the greedy answer."""
    seed: int
    notes: tuple[str, ...] = ()
    """Sentences about what the table cannot say."""


OpenSampler = Callable[[RoundContext, Settings], AbstractContextManager[Sampler]]


def find_problems(
    name: str, limit: int | None, seed: int, make_sandbox: MakeSandbox
) -> tuple[list[Problem], tuple[str, ...]]:
    """Return the problems of a benchmark or of a problems file, and sentences about what is not asked or not known.

    Of a file, those with a reference are asked if there are any, else all. Raises ConselfError if `name` is neither the
    name of a benchmark nor a file with problems.
    """
    if name in BENCHMARKS:
        (benchmark,) = load_benchmarks([name], LoadedProblems((), ()), 0, make_sandbox)
        return pick_problems(benchmark.problems, limit, seed), ()
    if not Path(name).exists():
        raise ConselfError(
            f"{name} is neither a benchmark nor a problems file", f"choose from {', '.join(BENCHMARKS)}, or name a file"
        )
    loaded = load_problems(Path(name), make_sandbox).problems
    judged = [problem for problem in loaded if problem.reference is not None]
    if not judged:
        note = (
            "these problems have no reference solution, so nothing here says which answers are right: agreement, "
            "programs that ran, seconds and tokens need none"
        )
        return pick_problems(loaded, limit, seed), (note,)
    left = len(loaded) - len(judged)
    notes = (f"{left} problems without a reference solution are not asked",) if left else ()
    return pick_problems(judged, limit, seed), notes


def run_bench(
    home: Home,
    arms: Sequence[BenchArm],
    plan: BenchPlan,
    compute: ComputeOptions,
    make_sandbox: MakeSandbox,
    on_event: OnEvent,
    open_sampler: OpenSampler = open_engine,
) -> dict[str, Any]:
    """Sample, run and judge what is not stored yet, and return the table as plain JSON values.

    Raises ConselfError if a model cannot be loaded, the engine dies, or another bench of these problems runs.
    """
    address = content_id(BENCH, [[problem.id, problem.content_hash()] for problem in plan.problems])
    bench_home = Home(home.path / "experiments" / f"bench-{address[:16]}")
    with bench_home.lock(), Store(bench_home.database) as store:
        store.ensure_problems(plan.problems)
        answered = []
        for arm in arms:
            on_event(Notice(f"{plan.benchmark}: {arm.label}", NoticeKind.BENCH))
            context = RoundContext(store, home, arm.model, compute, make_sandbox, make_sandbox, on_event)
            answered.append(_answer(context, arm, plan, open_sampler))
    return {"benchmark": plan.benchmark, "samples": plan.samples, "notes": list(plan.notes)} | bench_result(
        answered, seed=plan.seed
    )


def _answer(context: RoundContext, arm: BenchArm, plan: BenchPlan, open_sampler: OpenSampler) -> ArmAnswers:
    """Return the answers of one arm, of which those that are missing are sampled now."""
    store = context.store
    round_ = _round_of(context, arm, plan)
    asked = {"greedy": 0, "sampled": plan.samples}
    if int(store.value(_COUNT, round_.id, plan.samples)) < len(plan.problems) * (1 + plan.samples):
        with open_sampler(context, round_.settings) as sampler:
            for kind in _KINDS:
                clock = _Clock(store, round_.id, kind, context.on_event)
                benchmark = Benchmark(BENCH, plan.problems, asked[kind])
                sample_and_run(
                    store,
                    round_,
                    benchmark,
                    sampler,
                    {"base": arm.adapter},
                    context.make_sandbox,
                    clock.on_event,
                    source=answer_source(context, sampler),
                )
    seconds = {kind: float(store.stage_summary(round_.id, _seconds_key(kind)) or 0) for kind in _KINDS}
    answers = load_bench_answers(store, round_, BENCH, plan.problems, plan.samples)
    return ArmAnswers(label=arm.label, answers=answers, greedy_s=seconds["greedy"], sampled_s=seconds["sampled"])


def _round_of(context: RoundContext, arm: BenchArm, plan: BenchPlan) -> RoundInfo:
    """Return the round that holds the answers of this arm, which is made if there is none.

    It is found by all that decides what the model samples, except the number of samples.
    """
    store, model, config = context.store, arm.model, context.sampling_config()
    adapter = adapter_sha256(arm.adapter) if arm.adapter else None
    settings = shared_values(arm.settings)
    decisive = [model.sha256, model.template_hash, adapter, settings, plan.seed, config.engine, config.format]
    key = content_id("bench arm", decisive)
    for row in store.rows("select id, request from rounds order by id"):
        if json.loads(row["request"]).get(BENCH) == key:
            return store.round(row["id"])
    return store.start_round(
        seed=plan.seed,
        settings=arm.settings,
        model_path=model.path,
        model_sha256=model.sha256,
        template_hash=model.template_hash,
        base_adapter_id=None,
        versions=package_versions(),
        request={BENCH: key},
        problems=[],
    )


class _Clock:
    """Adds up how long answers take to sample, and stores the sum with each answer, so that a kill loses nothing."""

    def __init__(self, store: Store, round_id: int, kind: str, on_event: OnEvent) -> None:
        self._store, self._round_id, self._key, self._on_event = store, round_id, _seconds_key(kind), on_event
        self._seconds = float(store.stage_summary(round_id, self._key) or 0)
        self._since = time.monotonic()

    def on_event(self, event: Event) -> None:
        """Count the time since the event before if an answer was stored, and pass the event on."""
        if isinstance(event, ItemStored) and event.stage == f"evaluate {BENCH}":
            self._seconds += time.monotonic() - self._since
            self._store.finish_stage(self._round_id, self._key, repr(self._seconds))
        if isinstance(event, ItemStored | StageStarted):
            self._since = time.monotonic()
        self._on_event(event)


def _seconds_key(kind: str) -> str:
    return f"seconds {kind}"
