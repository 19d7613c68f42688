"""Sample the answers of an evaluation, each only once in a home.

An answer has an address: a hash of everything that decides what the model samples, namely the model, the adapter, the
chat template, the tokens of the prompt, the sampling settings, the seed, and the engine with its weights format. If the
store holds an answer with the same address from another round, it is copied and not sampled again. So the second round
of a home samples only the answers of its new adapter: those of the model that it started from were judged before.

An address does not name the number of slots or threads, nor the version of the engine; they may change single tokens.
Answers of an earlier version of this program have no address and are not used again.
Not covered: running and judging the programs (`evaluate.py`, `judged.py`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from conself_local.events import ItemStored, Notice, NoticeKind, OnEvent, StageStarted
from conself_local.hashes import content_id
from conself_local.model_files.model import adapter_sha256
from conself_local.problems.problem import Problem
from conself_local.sampling.extract import extract_program
from conself_local.sampling.sampler import Completion, Sampler, SampleRequest
from conself_local.settings import Settings
from conself_local.stages.benchmark import Benchmark
from conself_local.stages.prompting import encode_program, prefix_of
from conself_local.stages.seeds import seed_for
from conself_local.store.store import RoundInfo, Row, Store

GREEDY = -1
"""The index of the greedy answer; the samples count from 0."""
_CONTENT = ("text", "finish", "tokens", "token_ids", "mean_nll")
"""The columns of an answer that are the same under every round; a program belongs to a problem, an answer does not."""


@dataclass(frozen=True)
class _Prompt:
    """The plain prompt of a problem: the answer prefix at its end, its tokens, and its id in the store."""

    prefix: str
    token_ids: tuple[int, ...]
    id: str


@dataclass(frozen=True)
class _Wanted:
    """An answer that the round has not stored: its row as far as it is known, and the request that samples it."""

    row: Row
    problem: Problem
    request: SampleRequest


def evaluation_seed(round_: RoundInfo) -> int:
    """Return the seed of the answers: that of the home's first round, so that answers are found again.

    A round of an earlier version has its own seed.
    """
    return int(round_.request.get("evaluation_seed", round_.seed))


def sampling_settings(settings: Settings, sample_index: int) -> dict[str, float | int | bool]:
    """Return the settings that decide how one answer is sampled, by the names that `SampleRequest` gives them."""
    return {
        "temperature": 0.0 if sample_index == GREEDY else settings.evaluation.temperature,
        "top_p": settings.evaluation.top_p,
        "max_new_tokens": settings.evaluation.max_new_tokens + settings.sampling.thinking_tokens,
        "stop_at_fence": settings.sampling.ends_at_fence,
        "stop_at_repetition": settings.sampling.stop_at_repetition,
    }


def answer_address(
    model: tuple[str, str],
    adapter_hash: str | None,
    prompt: tuple[str, Sequence[int]],
    sampling: dict[str, float | int | bool],
    seed: int,
    source: str,
) -> str:
    """Return the address of an answer.

    model: sha256 and hash of the chat template. prompt: the answer prefix and the token ids. source: engine and weights
    format. The seed and the nucleus of a greedy answer do not matter, so they are not part of its address.
    """
    greedy = not sampling["temperature"]
    decisive = {name: value for name, value in sampling.items() if not (greedy and name == "top_p")}
    parts = [*model, adapter_hash, prompt[0], list(prompt[1]), decisive, None if greedy else seed, source]
    return content_id("answer", parts)


def sample_answers(
    store: Store,
    round_: RoundInfo,
    benchmark: Benchmark,
    sampler: Sampler,
    adapters: dict[str, Path | None],
    source: str,
    on_event: OnEvent,
) -> None:
    """Store every answer that the round lacks, with its program: from another round if possible, else sampled.

    source: engine and weights format, part of each address.
    """
    stage = f"evaluate {benchmark.name}"
    sql = "select id from evaluation_samples where round_id = ? and benchmark = ?"
    stored = {row["id"] for row in store.rows(sql, round_.id, benchmark.name)}
    total, done = len(adapters) * len(benchmark.problems) * (1 + benchmark.samples), len(stored)
    on_event(StageStarted(stage, done, total))
    wanted = list(_wanted(store, round_, benchmark, sampler, adapters, source, stored))
    missing = _copy_known(store, wanted)
    if copied := len(wanted) - len(missing):
        done += copied
        text = f"{benchmark.name}: {copied} answers are known from another round and not sampled again"
        on_event(Notice(text, NoticeKind.ANSWERS_KNOWN, stage))
    contexts = {one.request.key: one for one in missing}
    for completion in sampler.sample(one.request for one in missing) if missing else ():
        one = contexts.pop(completion.key)
        _store_answer(store, one, completion)
        done += 1
        on_event(ItemStored(stage, done, total, one.problem.id))


def _wanted(
    store: Store,
    round_: RoundInfo,
    benchmark: Benchmark,
    sampler: Sampler,
    adapters: dict[str, Path | None],
    source: str,
    stored: set[str],
) -> Iterator[_Wanted]:
    """Yield what the round has not stored. Both arms use the same seeds."""
    model = _model_of(store, round_)
    prompts: dict[str, _Prompt] = {}
    for arm, adapter in adapters.items():
        adapter_hash = adapter_sha256(adapter) if adapter else None
        for problem in benchmark.problems:
            for sample_index in range(GREEDY, benchmark.samples):
                key = f"{round_.id}/{benchmark.name}/{arm}/{problem.id}/{sample_index}"
                if key in stored:
                    continue
                if problem.id not in prompts:
                    prompts[problem.id] = _encode(store, round_, sampler, problem)
                prompt = prompts[problem.id]
                sampling = sampling_settings(round_.settings, sample_index)
                seed = seed_for(evaluation_seed(round_), "evaluation", problem.id, sample_index)
                request = _request(key, prompt, sampling, seed, adapter)
                place = {"id": key, "round_id": round_.id, "benchmark": benchmark.name, "arm": arm}
                row = {
                    "problem_id": problem.id,
                    "mode": "greedy" if sample_index == GREEDY else "sampled",
                    "number": sample_index,
                    "seed": seed,
                    "prompt_id": prompt.id,
                    "source": source,
                    "answer_id": answer_address(
                        model, adapter_hash, (prompt.prefix, prompt.token_ids), sampling, seed, source
                    ),
                }
                yield _Wanted(place | row, problem, request)


def _model_of(store: Store, round_: RoundInfo) -> tuple[str, str]:
    """Return the model's sha256 and the hash of its chat template, as they were when the round began."""
    return round_.model_sha256, store.value("select template_hash from rounds where id = ?", round_.id)


def _encode(store: Store, round_: RoundInfo, sampler: Sampler, problem: Problem) -> _Prompt:
    encoded, prefix = encode_program(sampler, problem, round_.settings)
    return _Prompt(prefix, encoded.token_ids, store.ensure_prompt(encoded.text, encoded.token_ids))


def _request(
    key: str, prompt: _Prompt, sampling: dict[str, float | int | bool], seed: int, adapter: Path | None
) -> SampleRequest:
    return SampleRequest(
        key=key,
        prompt_token_ids=prompt.token_ids,
        temperature=sampling["temperature"],
        top_p=sampling["top_p"],
        max_new_tokens=int(sampling["max_new_tokens"]),
        seed=seed,
        answer_prefix=prompt.prefix,
        stop_at_fence=bool(sampling["stop_at_fence"]),
        stop_at_repetition=bool(sampling["stop_at_repetition"]),
        adapter=adapter,
    )


def _copy_known(store: Store, wanted: Sequence[_Wanted]) -> list[_Wanted]:
    """Copy the answers that the store has under another round, in one transaction; return those that are missing."""
    sql = f"select {', '.join(_CONTENT)} from evaluation_samples where answer_id = ? limit 1"
    missing = []
    with store.transaction():
        for one in wanted:
            found = store.rows(sql, one.row["answer_id"])
            if found:
                _insert(store, one, found[0])
            else:
                missing.append(one)
    return missing


def _store_answer(store: Store, one: _Wanted, completion: Completion) -> None:
    content = {
        "text": completion.text,
        "finish": completion.finish,
        "tokens": len(completion.token_ids),
        "token_ids": json.dumps(list(completion.token_ids)),
        "mean_nll": completion.mean_nll,
    }
    with store.transaction():
        _insert(store, one, content)


def _insert(store: Store, one: _Wanted, content: Row) -> None:
    """Store an answer with its program, in the transaction of the caller."""
    code = extract_program(one.request.answer_prefix + content["text"])
    program = {"program_id": store.ensure_program(one.problem, code) if code else None}
    store.db.table("evaluation_samples").insert(one.row | content | program)


def derived_address(store: Store, round_: RoundInfo, row: Row) -> str | None:
    """Return the address of a stored answer, derived again; None if it has none or its adapter was deleted."""
    if row["answer_id"] is None:
        return None
    adapter: str | None = None
    if row["arm"] == "adapter" or round_.base_adapter_id is not None:
        column, value = ("round_id", round_.id) if row["arm"] == "adapter" else ("id", round_.base_adapter_id)
        adapter = store.value(f"select sha256 from adapters where {column} = ?", value)
        if adapter is None:
            return None
    model = _model_of(store, round_)
    prompt = (prefix_of(store.problem(row["problem_id"]), round_.settings), store.prompt_token_ids(row["prompt_id"]))
    sampling = sampling_settings(round_.settings, row["number"])
    return answer_address(model, adapter, prompt, sampling, row["seed"], row["source"])
