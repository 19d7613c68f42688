"""Stages 1 and 2, `observe` and `sample`: sample observations about each problem, then programs with each of them.

Answers that are stored already are not sampled again. A completion without a code block is stored as a sample without
a program.
Not covered: the prompts (`sampling/prompts.py`) and reading a program from an answer (`sampling/extract.py`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from conself_local.events import ItemStored, OnEvent, StageDone, StageStarted
from conself_local.problems.problem import Problem
from conself_local.sampling.extract import extract_program, parse_observations
from conself_local.sampling.prompts import observation_messages
from conself_local.sampling.sampler import Completion, Sampler, SampleRequest
from conself_local.stages.adaptive import Place, describe_savings, ordered_places, sampling_waves
from conself_local.stages.prompting import encode_program
from conself_local.stages.seeds import seed_for
from conself_local.store.pooling import earlier_observations
from conself_local.store.store import RoundInfo, Store


def sample_observations(
    store: Store, round_: RoundInfo, sampler: Sampler, adapter: Path | None, on_event: OnEvent
) -> None:
    """Store `sampling.observations` observations for every problem that has none yet.

    A round that pools votes takes those of an earlier round. If no completion gives enough observations within
    `sampling.max_observation_attempts`, or if the prompt of the settings holds none, None is stored for each: then the
    programs are sampled from the plain prompt.
    """
    settings = round_.settings.sampling
    ids = store.round_problem_ids(round_.id)
    done_ids = {
        r["problem_id"]
        for r in store.rows("select distinct problem_id from observations where round_id = ?", round_.id)
    }
    total, done = len(ids), len(done_ids)
    on_event(StageStarted("observe", done, total))
    pending = [id for id in ids if id not in done_ids]
    if not settings.asks_for_observations:
        with store.transaction():
            for id in pending:
                store.insert_observations(round_.id, id, [None] * settings.observations, 0)
        pending = []
    pending = [id for id in pending if not _reuse_observations(store, round_, id)]
    done = total - len(pending)
    for attempt in range(1, settings.max_observation_attempts + 1):
        failed: set[str] = set()
        for completion in sampler.sample(_observation_requests(store, round_, pending, sampler, adapter, attempt)):
            texts = parse_observations(completion.text, settings.observations)
            if texts is None and attempt < settings.max_observation_attempts:
                failed.add(completion.key)
                continue
            store.insert_observations(round_.id, completion.key, texts or [None] * settings.observations, attempt)
            done += 1
            on_event(ItemStored("observe", done, total, completion.key))
        pending = [id for id in pending if id in failed]
    sql = "select count(distinct problem_id) from observations where round_id = ? and outcome = 'given'"
    summary = (
        f"{store.value(sql, round_.id)} of {total} problems have observations; "
        "the others are sampled from the plain prompt"
        if settings.asks_for_observations
        else f"the prompt `{settings.prompt}` holds no observations, so none were asked for"
    )
    store.finish_stage(round_.id, "observe", summary)
    on_event(StageDone("observe", summary))


def _reuse_observations(store: Store, round_: RoundInfo, problem_id: str) -> bool:
    """Store the observations of an earlier round for a problem, if there are any that can be used; return whether."""
    texts = earlier_observations(store, round_, problem_id)
    if texts:
        store.insert_observations(round_.id, problem_id, texts, 0)
    return bool(texts)


def _observation_requests(
    store: Store, round_: RoundInfo, ids: list[str], sampler: Sampler, adapter: Path | None, attempt: int
) -> Iterator[SampleRequest]:
    """Yield one request per problem, whose id is its key; each attempt has its own seed."""
    settings = round_.settings.sampling
    for id in ids:
        problem = store.problem(id)
        prompt = sampler.encode(observation_messages(problem, settings.observations))
        yield SampleRequest(
            problem.id,
            prompt.token_ids,
            settings.observation_temperature,
            settings.observation_top_p,
            settings.observation_max_new_tokens,
            seed_for(round_.seed, problem.id, "observations", attempt),
            stop_at_repetition=settings.stop_at_repetition,
            adapter=adapter,
        )


def sample_programs(
    store: Store,
    round_: RoundInfo,
    sampler: Sampler,
    adapter: Path | None,
    on_event: OnEvent,
    after_each: Callable[[], None],
    run_sampled: Callable[[], None] = lambda: None,
) -> None:
    """Sample every program of the round that is not stored: `programs_per_observation` for each observation.

    Each sample is stored as it ends, in order of completion; then `after_each` is called. If the settings say so, the
    number of samples is adaptive (`adaptive.py`); then `run_sampled` is called to run all programs that have not run.
    """
    ids = store.round_problem_ids(round_.id)
    total = len(ids) * round_.settings.sampling.samples_per_problem
    done = int(store.value("select count(*) from samples where round_id = ?", round_.id))
    on_event(StageStarted("sample", done, total))
    contexts: dict[str, tuple[Problem, int, int, str, str]] = {}
    for places in _waves(store, round_, ids, run_sampled):
        for completion in sampler.sample(_program_requests(store, round_, places, sampler, adapter, contexts)):
            problem, observation, sample_index, prompt_key, prefix = contexts.pop(completion.key)
            _store_sample(store, round_, problem, observation, sample_index, prompt_key, prefix, completion)
            done += 1
            on_event(ItemStored("sample", done, total, problem.id))
            after_each()
    sql = """select count(*) as samples, count(program_id) as with_program, count(distinct program_id) as programs,
             coalesce(sum(finish = 'length'), 0) as cut from samples where round_id = ?"""
    counts = store.row(sql, round_.id)
    summary = (
        f"{counts['samples']} samples, {counts['with_program']} with a program, {counts['programs']} different "
        f"programs; {counts['cut']} answers were cut at the limit of tokens"
    )
    if round_.settings.sampling.adaptive:
        summary += f"; {describe_savings(store, round_)}"
    store.finish_stage(round_.id, "sample", summary)
    on_event(StageDone("sample", summary))


def _waves(
    store: Store, round_: RoundInfo, ids: Sequence[str], run_sampled: Callable[[], None]
) -> Iterator[Mapping[str, Sequence[Place]]]:
    """Yield the samples that each problem is to have: all at once, or as far as adaptive sampling has decided."""
    if round_.settings.sampling.adaptive:
        yield from sampling_waves(store, round_, run_sampled)
    else:
        places = ordered_places(round_.settings, round_.settings.sampling.samples_per_problem)
        yield dict.fromkeys(ids, places)


def _program_requests(
    store: Store,
    round_: RoundInfo,
    places: Mapping[str, Sequence[Place]],
    sampler: Sampler,
    adapter: Path | None,
    contexts: dict[str, tuple[Problem, int, int, str, str]],
) -> Iterator[SampleRequest]:
    """Yield a request for every sample of `places` that is not stored, and put what its row needs into `contexts`.

    The samples of one observation follow each other, because they share their prompt.
    Stores the prompts on the way, the plain prompt of each problem included; if a problem has all its samples, its
    prompts are stored already.
    """
    settings, sampling = round_.settings, round_.settings.sampling
    stored_sql = "select id from samples where round_id = ? and problem_id = ?"
    for id, wanted_places in places.items():
        stored = {row["id"] for row in store.rows(stored_sql, round_.id, id)}
        keys = {place: f"{round_.id}/{id}/{place[0]}/{place[1]}" for place in wanted_places}
        missing = sorted(place for place in wanted_places if keys[place] not in stored)
        if not missing:
            continue
        problem = store.problem(id)
        plain, prefix = encode_program(sampler, problem, settings)
        store.set_plain_prompt(round_.id, problem.id, store.ensure_prompt(plain.text, plain.token_ids))
        sql = "select number, text from observations where round_id = ? and problem_id = ? order by number"
        for row in store.rows(sql, round_.id, problem.id):
            wanted = [(n, keys[observation, n]) for observation, n in missing if observation == row["number"]]
            if not wanted:
                continue
            prompt = encode_program(sampler, problem, settings, row["text"])[0] if row["text"] else plain
            prompt_key = store.ensure_prompt(prompt.text, prompt.token_ids)
            for n, key in wanted:
                contexts[key] = (problem, row["number"], n, prompt_key, prefix)
                yield SampleRequest(
                    key,
                    prompt.token_ids,
                    sampling.temperature,
                    sampling.top_p,
                    sampling.longest_completion,
                    seed_for(round_.seed, problem.id, row["number"], n),
                    prefix,
                    sampling.ends_at_fence,
                    sampling.stop_at_repetition,
                    adapter,
                )


def _store_sample(
    store: Store,
    round_: RoundInfo,
    problem: Problem,
    observation: int,
    sample_index: int,
    prompt_key: str,
    prefix: str,
    completion: Completion,
) -> None:
    """Store a completion and its program, if it has one, in one transaction."""
    code = extract_program(prefix + completion.text)
    with store.transaction():
        store.insert_sample(
            {
                "id": completion.key,
                "round_id": round_.id,
                "problem_id": problem.id,
                "observation": observation,
                "number": sample_index,
                "prompt_id": prompt_key,
                "program_id": store.ensure_program(problem, code) if code else None,
                "text": completion.text,
                "token_ids": json.dumps(completion.token_ids),
                "finish": completion.finish,
                "mean_nll": completion.mean_nll,
                "mean_entropy_bits": completion.mean_entropy_bits,
                "seed": seed_for(round_.seed, problem.id, observation, sample_index),
            }
        )
