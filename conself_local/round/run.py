"""Run one self-improvement round. READ THIS FILE FIRST: it calls the stages in their order.

 1. observe: the model writes short observations about each problem: hints in prose, never code.
 2. sample: the model samples programs, several for each observation.
 3. execute: the sandbox runs every program on the test inputs of its problem. The outputs are its behaviour.
 4. grow: each problem gets more test inputs, as long as they show that programs differ.
 5. score: samples with equal behaviour form a cluster. The clusters give each problem its semantic entropy and each
    sample its consensus, its agreement with the others. Problems whose samples disagree, but by less than the
    threshold, are selected as learnable.
 6. pair: each selected problem gives preference pairs: a program of highest consensus is chosen, and one of lower
    consensus is rejected.
 7. train: a LoRA adapter is trained on the pairs (Con-DPO).
 8. evaluate: the model before the round and the model with the adapter answer the same benchmark problems.
 9. decide: the adapter is accepted if it is not worse on the validation split and kept its variety, else rejected.

No stage before the evaluation ever sees a right answer: training problems have test inputs, but no expected outputs.
Every stage reads what the stage before it stored, and stores its own results item by item. So a round that was
stopped or killed continues from there: `run_round` is called again, and each stage asks the store what is pending.

Not covered: the work of each stage (`stages/`), the formulas (`method/`), the choice of model and problems
(`start.py`), and running in the background (`process.py`). Source: arXiv 2603.29292.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean
from typing import Any

from conself_local.adapters.merged_weights import ensure_merged_weights
from conself_local.errors import ConselfError
from conself_local.events import Notice, NoticeKind, OnEvent, StageDone
from conself_local.machine.power import read_power
from conself_local.machine.room import verify_disk
from conself_local.model_files.converted_weights import ORIGINAL
from conself_local.model_files.mlx_folder import MlxFolder
from conself_local.model_files.model import gguf_model
from conself_local.round.context import Endpoint, RoundContext
from conself_local.round.decide import decide
from conself_local.round.engine import fix_engine
from conself_local.sampling.config import SamplingConfig
from conself_local.sampling.endpoint import EndpointSampler
from conself_local.sampling.engine_process import EngineProcess
from conself_local.sampling.open_engine import engine_of_original
from conself_local.sampling.open_engine import open_engine as open_configured
from conself_local.sampling.sampler import Sampler
from conself_local.settings import Settings
from conself_local.stages.augment import ask_for_inputs, augment_inputs
from conself_local.stages.benchmark import Benchmark
from conself_local.stages.evaluate import evaluate, sample_and_run
from conself_local.stages.execute import OverlappedExecution, execute_programs, run_sampled_programs
from conself_local.stages.likelihood import find_unmeasured, measure_likelihoods
from conself_local.stages.run_training import verify_room_for_training
from conself_local.stages.sample import sample_observations, sample_programs
from conself_local.stages.score import build_round_pairs, score_problems
from conself_local.stages.train import train_adapter
from conself_local.stages.train_pairs import PAIRS_FILE, job_of_file
from conself_local.store.reports import round_report
from conself_local.store.store import RoundInfo, Store

STAGES = ("observe", "sample", "execute", "grow", "score", "pair", "train", "evaluate", "decide")
PROMPT_TOKENS = 1024
"""Tokens reserved for the prompt in each slot's share of the context."""


def run_round(
    context: RoundContext, round_: RoundInfo, benchmarks: list[Benchmark], until: str = "decide"
) -> dict[str, Any]:
    """Run every stage that is not finished, up to and including `until`; return the report (`store/reports.py`).

    Stages that are finished are skipped or cost little, so the same call also continues an interrupted round.
    Raises ConselfError if the disk or the memory is too small, or if engine, sandbox or trainer fail.
    """
    verify_disk(context.home.path)
    wanted = STAGES[: STAGES.index(until) + 1]
    if round_.request.get(PAIRS_FILE):  # its pairs need no samples
        wanted = wanted[STAGES.index("train") :]
    context = fix_engine(context, round_)
    store = context.store
    if "observe" in wanted and not _sampling_is_done(store, round_, "sample" in wanted):
        adapter = store.adapter_file(round_.base_adapter_id)
        with _open_sampler(context, round_.settings, adapter) as sampler, _watch_power(context.on_event):
            sample_observations(store, round_, sampler, adapter, context.on_event)
            if "sample" in wanted:
                ask_for_inputs(store, round_, sampler, adapter, context.on_event)
                with _overlapped_execution(context, round_, sampler) as (after_each, run_sampled):
                    sample_programs(store, round_, sampler, adapter, context.on_event, after_each, run_sampled)
                _measure_weights_gap(context, round_, sampler, adapter)
    if "execute" in wanted:
        execute_programs(store, round_, context.make_sandbox, context.on_event)
    if "grow" in wanted:
        augment_inputs(store, round_, context.make_sandbox, context.on_event)
    if "score" in wanted:
        score_problems(store, round_, context.on_event)
    trained = store.value("select id from adapters where round_id = ?", round_.id)
    if "pair" in wanted and not trained:
        _measure_likelihoods(context, round_)
        build_round_pairs(store, round_, context.on_event)
    if "train" in wanted and not trained:
        given = job_of_file(round_, context.model, context.home, context.on_event)
        verify_room_for_training(context.model, context.on_event)
        train_adapter(store, round_, context.model, context.home, context.on_event, given)
    adapter_id = store.value("select id from adapters where round_id = ?", round_.id)
    if "evaluate" in wanted and adapter_id:
        _evaluate_all(context, round_, benchmarks, adapter_id)
    if "decide" in wanted:
        _decide(context, round_, adapter_id)
        store.finish_round(round_.id)
    return round_report(store, round_.id)


def _measure_likelihoods(context: RoundContext, round_: RoundInfo) -> None:
    """Open the engine and measure the likelihoods that decide which programs are chosen, if there are such."""
    if unmeasured := find_unmeasured(context.store, round_):
        adapter = context.store.adapter_file(round_.base_adapter_id)
        with open_engine(context, round_.settings) as engine:
            measure_likelihoods(context.store, unmeasured, engine, adapter, context.on_event)


@contextmanager
def _overlapped_execution(
    context: RoundContext, round_: RoundInfo, sampler: Sampler
) -> Iterator[tuple[Callable[[], None], Callable[[], None]]]:
    """Yield (a function to call after every sample, one that runs all programs that have not run).

    With the first, programs run while others are still sampled.
    Sampling nearly always takes longest, so the engine keeps all its threads until a batch of programs waits; then it
    gives up a quarter of the cores until the batch is done, if it shares its cores at all. The function does nothing in
    three cases: with one core; with one slot, which promises equal samples, so they must not depend on a changing
    number of threads; and with an endpoint, whose threads this process does not control.
    """
    compute, config = context.compute, context.sampling_config()

    def run_all() -> None:
        run_sampled_programs(context.store, round_, context.make_sandbox)

    if compute.workers == 1 or config.slots == 1 or not isinstance(sampler, EngineProcess):
        yield lambda: None, run_all
        return

    def share_cores(shared: bool) -> None:
        if not sampler.shares_cores:
            return
        left = max(1, min(config.threads, compute.workers - compute.overlap_workers))
        sampler.set_threads(left if shared else config.threads)

    with OverlappedExecution(context.store, round_, context.make_overlap_sandbox, share_cores) as execution:

        def finish_and_run_all() -> None:
            execution.finish_batch()
            run_all()

        yield execution.poll, finish_and_run_all


@contextmanager
def _watch_power(on_event: OnEvent) -> Iterator[None]:
    """Send a notice at the start if the computer runs on battery, and at the end if heat slowed the processor."""
    before = read_power()
    if before.on_battery:
        charge = "" if before.percent is None else f" ({before.percent} % left)"
        text = f"on battery{charge}: sampling drains it; Ctrl-C stops the round, and the next run continues it"
        on_event(Notice(text, NoticeKind.BATTERY, "sample"))
    yield
    slowed = read_power().throttled - before.throttled
    if slowed > 0:
        text = f"heat slowed the processor {slowed} times during sampling; a smaller --threads keeps it cooler"
        on_event(Notice(text, NoticeKind.HEAT, "sample"))


@contextmanager
def _open_sampler(context: RoundContext, settings: Settings, adapter: Path | None) -> Iterator[Sampler]:
    """Open what the round samples from with its first adapter: the servers if the user named some, else the engine."""
    endpoint = context.compute.endpoint
    with _open_servers(context, endpoint) if endpoint else open_engine(context, settings) as opened:
        if isinstance(opened, EndpointSampler) and not opened.keep_servers_for([adapter]):
            raise ConselfError(
                f"no server has the adapter {adapter}, from which this round starts",
                "start llama-server with --lora FILE, sample on this computer, or start from the base with --from-base",
            )
        yield opened


def _open_servers(context: RoundContext, endpoint: Endpoint) -> EndpointSampler:
    return EndpointSampler(
        endpoint.urls,
        endpoint.model_name,
        gguf_model(context.model, "an endpoint"),
        accept_remote=endpoint.accept_remote,
        on_notice=lambda text: context.on_event(Notice(text, NoticeKind.SERVER_LEFT_OUT)),
        on_restart=lambda text: context.on_event(Notice(text, NoticeKind.ENGINE_RESTARTED)),
    )


@contextmanager
def _open_judged(context: RoundContext, settings: Settings, adapters: Collection[Path | None]) -> Iterator[Sampler]:
    """Open what samples the answers of an evaluation: the servers if they can switch the adapters, else the engine."""
    if endpoint := context.compute.endpoint:
        with _open_servers(context, endpoint) as servers:
            if servers.keep_servers_for(adapters):
                yield servers
                return
        text = "no server can switch to the adapters of this round, so it is evaluated here"
        context.on_event(Notice(text, NoticeKind.EVALUATED_HERE, "evaluate"))
    with open_engine(context, settings) as engine:
        yield engine


def open_engine(context: RoundContext, settings: Settings, *, original: bool = False) -> EngineProcess:
    """Open the engine process of the round, or the one over the original weights if `original`.

    Raises ConselfError if the weights cannot be converted, the memory is too small, the engine does not start, or
    OpenVINO does not read the model as llama.cpp does.
    """
    config, model, cache = context.sampling_config(), context.model, context.home.cache
    if original:
        config = SamplingConfig(ORIGINAL, config.slots, config.threads, engine_of_original(model))
    return open_configured(
        model,
        config,
        cache,
        longest=PROMPT_TOKENS + settings.sampling.longest_completion,
        use_gpu=context.compute.use_gpu,
        merge=lambda adapter: ensure_merged_weights(gguf_model(model, "OpenVINO"), adapter, config.format, cache),
        on_notice=lambda text: context.on_event(Notice(text, NoticeKind.ENGINE_RESTARTED)),
    )


def _sampling_is_done(store: Store, round_: RoundInfo, with_programs: bool) -> bool:
    """Return whether all observations are stored or, if `with_programs`, all samples and the measured weights gap."""
    problems = int(store.value("select count(*) from round_problems where round_id = ?", round_.id))
    observed = int(store.value("select count(distinct problem_id) from observations where round_id = ?", round_.id))
    if not with_programs:
        return observed == problems
    if round_.settings.sampling.adaptive:
        all_sampled = store.stage_summary(round_.id, "sample") is not None
    else:
        samples = int(store.value("select count(*) from samples where round_id = ?", round_.id))
        all_sampled = samples == problems * round_.settings.sampling.samples_per_problem
    measured = store.stage_summary(round_.id, "running copy") is not None
    return all_sampled and measured


def _measure_weights_gap(context: RoundContext, round_: RoundInfo, sampler: Sampler, adapter: Path | None) -> None:
    """Store and report what sampled, and how far its log-probabilities are from those of the original model file.

    The gap is the mean absolute difference per token, in nats, over the completions of at most 8 samples of this round.
    It is measured only if converted weights sampled and at least one sample holds a program.
    """
    sql = """select p.token_ids as prompt, s.token_ids as completion from samples s join prompts p on p.id = s.prompt_id
             where s.round_id = ? and s.program_id is not null order by s.id limit 8"""
    rows = [(json.loads(r["prompt"]), json.loads(r["completion"])) for r in context.store.rows(sql, round_.id)]
    if isinstance(sampler, EndpointSampler):
        summary = f"samples come from {sampler.describe()}"
        if sampler.measured:
            with open_engine(context, round_.settings, original=True) as engine:
                gaps = []
                for request, completion, logps in sampler.measured:
                    ours = engine.score(request.prompt_token_ids, completion.token_ids, request.adapter)
                    gaps += [abs(a - b) for a, b in zip(logps, ours, strict=False)]
            summary += f"; mean gap in log-probability from the original file: {fmean(gaps):.4f} nats per token"
    elif not isinstance(sampler, EngineProcess) or sampler.runs_original:
        kind = (
            "the weights of the folder as they are"
            if isinstance(context.model, MlxFolder)
            else "the original model file"
        )
        summary = f"samples come from {kind}"
    elif not rows:
        summary = f"samples come from {sampler.description}; no sample holds a program to measure the gap on"
    else:
        converted_logps = [sampler.score(prompt, completion, adapter) for prompt, completion in rows]
        with open_engine(context, round_.settings, original=True) as engine:
            original_logps = [engine.score(prompt, completion, adapter) for prompt, completion in rows]
        gaps = [
            abs(a - b)
            for converted, original in zip(converted_logps, original_logps, strict=True)
            for a, b in zip(converted, original, strict=True)
        ]
        summary = (
            f"samples come from {sampler.description}; mean gap in log-probability from the original file: "
            f"{fmean(gaps):.4f} nats per token"
        )
    context.store.finish_stage(round_.id, "running copy", summary)
    context.on_event(Notice(summary, NoticeKind.WEIGHTS_GAP, "sample"))


def _evaluate_all(context: RoundContext, round_: RoundInfo, benchmarks: list[Benchmark], adapter_id: int) -> None:
    """Evaluate the model before and after the round on every benchmark that has no stored result."""
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
    with _open_judged(context, round_.settings, adapters.values()) as sampler:
        source = answer_source(context, sampler)
        for benchmark in pending:
            evaluate(
                context.store,
                round_,
                benchmark,
                sampler,
                adapters,
                context.make_sandbox,
                context.on_event,
                source=source,
            )


def answer_source(context: RoundContext, sampler: Sampler) -> str:
    """Return engine and weights format of what samples the answers; the servers, if servers do."""
    if (endpoint := context.compute.endpoint) and isinstance(sampler, EndpointSampler):
        return f"{endpoint.model_name} of {sampler.describe()}"
    config = context.sampling_config()
    return f"{config.engine}, {config.format}"


def sample_base(context: RoundContext, round_: RoundInfo, benchmarks: list[Benchmark]) -> None:
    """Sample, run and judge the answers of the model before the round, ahead of training.

    The arms of an experiment that share their first stages also share these answers.
    """
    context = fix_engine(context, round_)
    base = {"base": context.store.adapter_file(round_.base_adapter_id)}
    with _open_judged(context, round_.settings, base.values()) as sampler:
        source = answer_source(context, sampler)
        for benchmark in benchmarks:
            sample_and_run(
                context.store, round_, benchmark, sampler, base, context.make_sandbox, context.on_event, source=source
            )


def _decide(context: RoundContext, round_: RoundInfo, adapter_id: int | None) -> None:
    """Accept or reject the adapter (`decide.py`) and store the verdict in words."""
    summary = decide(context.store, round_, adapter_id)
    context.store.finish_stage(round_.id, "decide", summary)
    context.on_event(StageDone("decide", summary))
