"""READ THIS FIRST: one self-improvement round, the stages in order.

problem -> observations -> programs -> behaviours -> (entropy, clusters, consensus) -> selected problems -> pairs
-> adapter -> evaluation -> accept or reject. Every stage reads what the stage before it stored and stores its own,
item by item, so a round that was stopped or killed goes on where it was: `run_round` is called again and asks the
store what is pending. Source: arXiv 2603.29292.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean
from typing import Any

from conself_local.events import Notice, OnEvent, StageDone
from conself_local.machine.power import read_power
from conself_local.machine.room import verify_disk, verify_memory
from conself_local.model_files.converted_weights import ORIGINAL
from conself_local.model_files.memory import training_bytes
from conself_local.round.context import RoundContext
from conself_local.sampling.endpoint import EndpointSampler
from conself_local.sampling.engine_process import LlamaProcess
from conself_local.sampling.open_engine import open_llama
from conself_local.sampling.sampler import Sampler
from conself_local.settings import Settings
from conself_local.stages.augment import ask_for_inputs, augment_inputs
from conself_local.stages.evaluate import Benchmark, evaluate, sample_and_run
from conself_local.stages.execute import OverlappedExecution, execute_programs
from conself_local.stages.sample import sample_observations, sample_programs
from conself_local.stages.score import build_round_pairs, score_problems
from conself_local.stages.train import train_adapter
from conself_local.store.reports import round_report
from conself_local.store.store import RoundInfo, Store

STAGES = ("observe", "sample", "execute", "grow", "score", "pair", "train", "evaluate", "decide")
PROMPT_TOKENS = 1024
"""Room for a prompt in a slot's share of the context."""


def run_round(
    context: RoundContext, round_: RoundInfo, benchmarks: list[Benchmark], until: str = "decide"
) -> dict[str, Any]:
    """Bring the round to its end, or to the end of stage `until`; returns its report (see `store/reports.py`)."""
    verify_disk(context.home.path)
    wanted = STAGES[: STAGES.index(until) + 1]
    store = context.store
    if "observe" in wanted and not _sampled(store, round_, "sample" in wanted):
        with _open_sampler(context, round_.settings) as sampler, _watch_power(context.on_event):
            adapter = store.adapter_file(round_.base_adapter_id)
            sample_observations(store, round_, sampler, adapter, context.on_event)
            if "sample" in wanted:
                ask_for_inputs(store, round_, sampler, adapter, context.on_event)
                with _overlapped_execution(context, round_, sampler) as after_each:
                    sample_programs(store, round_, sampler, adapter, context.on_event, after_each)
                _measure_weights_gap(context, round_, sampler, adapter)
    if "execute" in wanted:
        execute_programs(store, round_, context.make_sandbox, context.on_event)
    if "grow" in wanted:
        augment_inputs(store, round_, context.make_sandbox, context.on_event)
    if "score" in wanted:
        score_problems(store, round_, context.on_event)
    trained = store.value("select id from adapters where round_id = ?", round_.id)
    if "pair" in wanted and not trained:
        build_round_pairs(store, round_, context.on_event)
    if "train" in wanted and not trained:
        verify_memory("training", training_bytes(context.model), "close other programs, or train a smaller model")
        train_adapter(store, round_, context.model, context.home, context.on_event)
    adapter_id = store.value("select id from adapters where round_id = ?", round_.id)
    if "evaluate" in wanted and adapter_id:
        _evaluate_all(context, round_, benchmarks, adapter_id)
    if "decide" in wanted:
        _decide(context, round_, adapter_id)
        store.finish_round(round_.id)
    return round_report(store, round_.id)


@contextmanager
def _overlapped_execution(context: RoundContext, round_: RoundInfo, sampler: Sampler) -> Iterator[Callable[[], None]]:
    """What to call after every sample, so that programs are run while others are sampled, by a plan of the cores.

    Sampling is nearly always what is behind, so it has all its threads until a batch of programs waits; then the engine gives
    up a quarter of the cores until the batch is done. Not with one core, nor with one slot, whose promise of equal samples
    should not hang on how many threads there happened to be, nor beside an endpoint, whose threads are its own.
    """
    compute, config = context.compute, context.sampling_config()
    if compute.workers == 1 or config.slots == 1 or not isinstance(sampler, LlamaProcess):
        yield lambda: None
        return

    def share_cores(shared: bool) -> None:
        left = max(1, min(config.threads, compute.workers - compute.overlap_workers))
        sampler.set_threads(left if shared else config.threads)

    with OverlappedExecution(context.store, round_, context.make_overlap_sandbox, share_cores) as beside:
        yield beside.poll


@contextmanager
def _watch_power(on_event: OnEvent) -> Iterator[None]:
    """Tell of a battery at the beginning, and at the end of heat that slowed the processor meanwhile."""
    before = read_power()
    if before.on_battery:
        charge = "" if before.percent is None else f" ({before.percent} % left)"
        on_event(Notice(f"on battery{charge}: sampling drains it; Ctrl-C stops, and the next run goes on"))
    yield
    slowed = read_power().throttled - before.throttled
    if slowed > 0:
        on_event(Notice(f"heat slowed the processor {slowed} times while sampling; fewer --threads keep it cooler"))


@contextmanager
def _open_sampler(context: RoundContext, settings: Settings) -> Iterator[Sampler]:
    """What the round samples from: an endpoint where the user named one, else the engine."""
    endpoint, sampler = context.compute.endpoint, None
    if endpoint:
        sampler = EndpointSampler(
            endpoint.url, endpoint.model_name, context.model, accept_remote=endpoint.accept_remote
        )
    with sampler or open_engine(context, settings) as opened:
        yield opened


def open_engine(context: RoundContext, settings: Settings, *, shipped: bool = False) -> LlamaProcess:
    """The engine process over the converted weights, or over the shipped file."""
    config = context.sampling_config()
    return open_llama(
        context.model,
        ORIGINAL if shipped else config.format,
        context.home.cache,
        slots=config.slots,
        threads=config.threads,
        longest=PROMPT_TOKENS + settings.max_new_tokens,
        use_gpu=context.compute.use_gpu,
    )


def _sampled(store: Store, round_: RoundInfo, with_programs: bool) -> bool:
    problems = int(store.value("select count(*) from round_problems where round_id = ?", round_.id))
    observed = int(store.value("select count(distinct problem_id) from observations where round_id = ?", round_.id))
    if not with_programs:
        return observed == problems
    samples = int(store.value("select count(*) from samples where round_id = ?", round_.id))
    measured = store.stage_summary(round_.id, "running copy") is not None
    return samples == problems * round_.settings.samples_per_problem and measured


def _measure_weights_gap(context: RoundContext, round_: RoundInfo, sampler: Sampler, adapter: Path | None) -> None:
    """The gap in log-probability between the copy that samples and the shipped file, on samples of this round."""
    sql = """select p.token_ids as prompt, s.token_ids as completion from samples s join prompts p on p.id = s.prompt_id
             where s.round_id = ? and s.program_id is not null order by s.id limit 8"""
    rows = [(json.loads(r["prompt"]), json.loads(r["completion"])) for r in context.store.rows(sql, round_.id)]
    if isinstance(sampler, EndpointSampler):
        summary = f"samples from {sampler.url}; it tells no uncertainty, and answers were tokenised with {context.model.path.name}"
    elif not isinstance(sampler, LlamaProcess) or sampler.runs_original or not rows:
        summary = "samples from the shipped file itself"
    else:
        running = [sampler.score(prompt, completion, adapter) for prompt, completion in rows]
        with open_engine(context, round_.settings, shipped=True) as shipped:
            exact = [shipped.score(prompt, completion, adapter) for prompt, completion in rows]
        gaps = [
            abs(a - b) for ours, theirs in zip(running, exact, strict=True) for a, b in zip(ours, theirs, strict=True)
        ]
        summary = f"samples from {sampler.weights.name}, mean gap in log-probability to the shipped file {fmean(gaps):.4f} nats a token"
    context.store.finish_stage(round_.id, "running copy", summary)
    context.on_event(Notice(summary))


def _evaluate_all(context: RoundContext, round_: RoundInfo, benchmarks: list[Benchmark], adapter_id: int) -> None:
    done = {
        r["benchmark"] for r in context.store.rows("select benchmark from evaluations where round_id = ?", round_.id)
    }
    pending = [b for b in benchmarks if b.name not in done]
    if not pending:
        return
    adapters = {
        "base": context.store.adapter_file(round_.base_adapter_id),
        "adapter": context.store.adapter_file(adapter_id),
    }
    with open_engine(context, round_.settings) as sampler:
        for benchmark in pending:
            evaluate(context.store, round_, benchmark, sampler, adapters, context.make_sandbox, context.on_event)


def sample_base(context: RoundContext, round_: RoundInfo, benchmarks: list[Benchmark]) -> None:
    """The answers of the model before the round, ahead of training: arms of an experiment that begin alike share them."""
    base = {"base": context.store.adapter_file(round_.base_adapter_id)}
    with open_engine(context, round_.settings) as sampler:
        for benchmark in benchmarks:
            sample_and_run(context.store, round_, benchmark, sampler, base, context.make_sandbox, context.on_event)


def _decide(context: RoundContext, round_: RoundInfo, adapter_id: int | None) -> None:
    """Accept the adapter only if it is not worse on the validation split (mean pass@1 over its problems)."""
    store = context.store
    raw = store.value("select result from evaluations where round_id = ? and benchmark = 'validation'", round_.id)
    if adapter_id is None:
        summary = "no adapter was trained; the model stays as it was"
    elif raw is None:
        summary = "not judged on the validation split, so the adapter stays a candidate"
    else:
        difference = json.loads(raw)["difference"]
        accepted = difference >= 0
        store.set_adapter_state(adapter_id, "accepted" if accepted else "rejected")
        points = f"{100 * difference:+.1f} points pass@1 on the validation split"
        summary = (
            f"accepted: {points}, not worse; the next round begins with this adapter"
            if accepted
            else f"rejected: {points}, worse; the model stays as it was"
        )
    store.finish_stage(round_.id, "decide", summary)
    context.on_event(StageDone("decide", summary))
