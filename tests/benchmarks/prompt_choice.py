"""Choose the prompt of a model on validation problems: ask in every way, judge the answers, print a table and the best.

    python -m tests.benchmarks.prompt_choice HOME mbpp.jsonl --model MODEL

The ways are the three prompts of the settings, with and without an answer prefix, caps of 256 and 512 tokens, and the
temperatures 0, 0.2 and 0.6. Only validation problems are asked (MBPP 511-600), so that held-out ones stay unseen. The
best way is that with the most right greedy answers; of those within one problem of it, that with the shortest answers.
`--samples 0` asks for the greedy answers alone, which decide. What is in the store of HOME, a folder for this purpose
alone, is not sampled again, so the same command continues after a stop. Answers are sampled under the largest cap; a
smaller cap would have given the same tokens, only fewer, so its answers are made by cutting these. `se` is the standard
error over the problems: differences below about two of them may be chance.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import get_args

from conself_local.evaluation.judge import is_correct
from conself_local.home import Home
from conself_local.machine.versions import package_versions
from conself_local.model_files.bundled import bundled_model
from conself_local.model_files.model_file import ModelFile, load_model_file
from conself_local.problems.load import load_problems
from conself_local.problems.problem import Problem
from conself_local.round.run import PROMPT_TOKENS
from conself_local.sampling.extract import extract_program
from conself_local.sampling.open_engine import open_engine
from conself_local.sampling.sampler import Completion, Sampler, SampleRequest
from conself_local.sampling.tuning import sampling_config
from conself_local.sampling.vocabulary import load_vocabulary
from conself_local.settings import LAPTOP, Prompt, Settings, replace_values, settings_from_json, shared_values
from conself_local.stages.execute import limits_key, limits_of, run_and_store
from conself_local.stages.prompting import encode_program, prefix_of
from conself_local.stages.seeds import seed_for
from conself_local.store.store import RoundInfo, Store
from sandbox import Limits, MakeSandbox, Sandbox

CAPS = (256, 512)
TEMPERATURES = (0.0, 0.2, 0.6)
PROMPTS: tuple[Prompt, ...] = get_args(Prompt)


@dataclass(frozen=True)
class Answer:
    """An answer as it was sampled, or as a smaller cap would have cut it."""

    problem_id: str
    temperature: float
    text: str
    token_ids: tuple[int, ...]
    finish: str


@dataclass(frozen=True)
class Judged:
    """What counts of one answer."""

    problem_id: str
    correct: bool
    parsed: bool
    """Whether it holds a program that compiles."""
    cut: bool
    tokens: int


@dataclass(frozen=True)
class Result:
    """One row of the table."""

    pass_at_1: float
    mean_tokens: float
    standard_error: float
    parsed: float
    cut: float
    way: tuple[Prompt, bool, int, float]
    """Prompt, whether there is an answer prefix, cap, temperature."""

    def line(self) -> str:
        """Return the row as Markdown."""
        prompt, prefix, cap, temperature = self.way
        return (
            f"| {prompt} | {'yes' if prefix else 'no'} | {cap} | {temperature:g} | {self.pass_at_1:.3f} | "
            f"{self.standard_error:.3f} | {self.parsed:.3f} | {self.cut:.3f} | {self.mean_tokens:.0f} |"
        )


def main() -> None:
    """Sample what is missing, judge everything, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("home", type=Path, help="folder of the store")
    parser.add_argument("problems", type=Path, help="MBPP's file, or another one with validation problems")
    parser.add_argument("--model", type=Path, help="GGUF file (default: the bundled model)")
    parser.add_argument(
        "--samples", type=int, default=5, help="answers per problem at each temperature above 0; 0: greedy answers only"
    )
    parser.add_argument("--limit", type=int, help="ask only the first problems")
    options = parser.parse_args()
    model, home = load_model_file(options.model or bundled_model()), Home(options.home)

    def make_sandbox(limits: Limits) -> Sandbox:
        return Sandbox(limits, workers=2)

    problems = load_problems(options.problems, make_sandbox).of("validation")[: options.limit]
    with home.lock(), Store(home.database) as store:
        store.ensure_problems(problems)
        rounds = {way: ensure_round(store, model, *way) for way in itertools.product(PROMPTS, (True, False))}
        pending = [r for r in rounds.values() if missing_answers(store, r, problems, options.samples)]
        if pending:
            config = sampling_config(model, home.cache)
            longest = PROMPT_TOKENS + max(CAPS)
            with open_engine(model, config, home.cache, longest=longest, use_gpu=True) as engine:
                for round_ in pending:
                    sample_missing(store, round_, problems, engine, options.samples)
        detokenize = load_vocabulary(model.path, model.end_token).detokenize
        results = [
            result
            for (prompt, prefix), round_ in rounds.items()
            for result in judge_round(store, round_, problems, (prompt, prefix), detokenize, make_sandbox)
        ]
    print(f"{model.name}: {len(problems)} problems, {options.samples} samples each above temperature 0")
    print(
        "| prompt | prefix | cap | temperature | pass@1 | se | parsed | cut | tokens |\n|---|---|---|---|---|---|---|---|---|"
    )
    for result in results:
        print(result.line())
    print(f"best: {best_line(best_of(results, len(problems)))}")


def best_of(results: Sequence[Result], problems: int) -> Result:
    """Return the greedy result of the shortest answers, then least cap, among those within one problem of the best."""
    greedy = [r for r in results if r.way[3] == 0]
    enough = max(r.pass_at_1 for r in greedy) - 1 / problems - 1e-9
    return min((r for r in greedy if r.pass_at_1 >= enough), key=lambda r: (r.mean_tokens, r.way[2]))


def best_line(result: Result) -> str:
    """Return the settings of a result, as an experiment's file names them."""
    prompt, prefix, cap, temperature = result.way
    return (
        f'prompt = "{prompt}", answer_prefix = {str(prefix).lower()}, evaluation_max_new_tokens = {cap}; '
        f"temperature {temperature:g}: pass@1 {result.pass_at_1:.3f}"
    )


def ensure_round(store: Store, model: ModelFile, prompt: Prompt, prefix: bool) -> RoundInfo:
    """Return the round that holds the answers of a prompt: a stored one of this model and prompt, or a new one."""
    settings = replace_values(
        LAPTOP, {"sampling.prompt": prompt, "sampling.answer_prefix": prefix, "sampling.max_new_tokens": max(CAPS)}
    )
    wanted = shared_values(settings)
    for row in store.rows("select id, settings from rounds where model_sha256 = ? order by id", model.sha256):
        if shared_values(settings_from_json(json.loads(row["settings"]))) == wanted:
            return store.round(row["id"])
    return store.start_round(
        seed=0,
        settings=settings,
        model_path=model.path,
        model_sha256=model.sha256,
        template_hash=model.template_hash,
        base_adapter_id=None,
        versions=package_versions(),
        request={"problems": None, "limit": None, "benchmarks": [], "evaluation_samples": 0},
        problems=[],
    )


def sample_missing(
    store: Store, round_: RoundInfo, problems: Sequence[Problem], sampler: Sampler, samples: int
) -> None:
    """Sample every answer of a round that is not stored, and store each as it ends."""
    missing = missing_answers(store, round_, problems, samples)
    contexts: dict[str, tuple[Problem, float, int, str]] = {}

    def requests() -> Iterator[SampleRequest]:
        for problem in problems:
            prompt, prefix = encode_program(sampler, problem, round_.settings)
            prompt_key = store.ensure_prompt(prompt.text, prompt.token_ids)
            for temperature, index in wanted_answers(samples):
                key = answer_key(round_, problem, temperature, index)
                if key in missing:
                    contexts[key] = (problem, temperature, index, prompt_key)
                    yield request_of(round_.settings, problem, key, prompt.token_ids, prefix, temperature, index)

    for completion in sampler.sample(requests()):
        _store_answer(store, round_, *contexts.pop(completion.key), completion)


def missing_answers(store: Store, round_: RoundInfo, problems: Sequence[Problem], samples: int) -> set[str]:
    """Return the keys of the wanted answers that are not stored."""
    stored = {row["id"] for row in store.rows("select id from samples where round_id = ?", round_.id)}
    return {answer_key(round_, p, t, i) for p in problems for t, i in wanted_answers(samples)} - stored


def answer_key(round_: RoundInfo, problem: Problem, temperature: float, index: int) -> str:
    """Return the id of a sample in the store."""
    return f"{round_.id}/{problem.id}/{percent(temperature)}/{index}"


def wanted_answers(samples: int) -> list[tuple[float, int]]:
    """Return (temperature, index) of all answers to one problem: one greedy answer, and `samples` at each other."""
    return [(t, i) for t in TEMPERATURES for i in range(samples if t else 1)]


def percent(temperature: float) -> int:
    """Return a temperature as the whole number under which the store holds its answers: `0.2` -> 20."""
    return round(100 * temperature)


def request_of(
    settings: Settings,
    problem: Problem,
    key: str,
    prompt: tuple[int, ...],
    prefix: str,
    temperature: float,
    index: int,
) -> SampleRequest:
    """Return the request for one answer, with the seeds that an evaluation uses."""
    seed = seed_for(0, "evaluation", problem.id, index if temperature else -1)
    return SampleRequest(
        key,
        prompt,
        temperature,
        settings.evaluation.top_p,
        max(CAPS),
        seed,
        prefix,
        settings.sampling.ends_at_fence,
        settings.sampling.stop_at_repetition,
    )


def _store_answer(
    store: Store,
    round_: RoundInfo,
    problem: Problem,
    temperature: float,
    index: int,
    prompt_key: str,
    completion: Completion,
) -> None:
    code = extract_program(prefix_of(problem, round_.settings) + completion.text)
    with store.transaction():
        store.insert_sample(
            {
                "id": completion.key,
                "round_id": round_.id,
                "problem_id": problem.id,
                "observation": percent(temperature),
                "number": index,
                "prompt_id": prompt_key,
                "program_id": store.ensure_program(problem, code) if code else None,
                "text": completion.text,
                "token_ids": json.dumps(completion.token_ids),
                "finish": completion.finish,
                "mean_nll": completion.mean_nll,
                "mean_entropy_bits": completion.mean_entropy_bits,
                "seed": seed_for(0, "evaluation", problem.id, index if temperature else -1),
            }
        )


def cut_answer(answer: Answer, cap: int, detokenize: Callable[[Sequence[int]], str]) -> Answer:
    """Return the answer as the engine would have ended it at `cap` tokens; one that is not longer is unchanged."""
    if len(answer.token_ids) <= cap:
        return answer
    kept = answer.token_ids[:cap]
    return dataclasses.replace(answer, text=detokenize(kept), token_ids=kept, finish="length")


def judge_round(
    store: Store,
    round_: RoundInfo,
    problems: Sequence[Problem],
    asked: tuple[Prompt, bool],
    detokenize: Callable[[Sequence[int]], str],
    make_sandbox: MakeSandbox,
) -> Iterator[Result]:
    """Run the programs of a round's answers that have not run yet, and yield one result per cap and temperature."""
    by_id = {problem.id: problem for problem in problems}
    answers = [a for a in load_answers(store, round_) if a.problem_id in by_id]
    for cap in CAPS:
        capped = [cut_answer(answer, cap, detokenize) for answer in answers]
        judged = _judge(store, round_, by_id, capped, make_sandbox)
        for temperature in TEMPERATURES:
            some = [j for a, j in zip(capped, judged, strict=True) if a.temperature == temperature]
            if some:
                yield summarise(some, (*asked, cap, temperature))


def load_answers(store: Store, round_: RoundInfo) -> list[Answer]:
    """Return the stored answers of a round."""
    sql = "select problem_id, observation, text, token_ids, finish from samples where round_id = ? order by rowid"
    temperatures = {percent(t): t for t in TEMPERATURES}
    return [
        Answer(
            row["problem_id"],
            temperatures[row["observation"]],
            row["text"],
            tuple(json.loads(row["token_ids"])),
            row["finish"],
        )
        for row in store.rows(sql, round_.id)
    ]


def _judge(
    store: Store, round_: RoundInfo, by_id: dict[str, Problem], answers: Sequence[Answer], make_sandbox: MakeSandbox
) -> list[Judged]:
    """Return what counts of each answer, in order."""
    limits = limits_of(round_.settings)
    with store.transaction():
        references = {p.id: store.ensure_program(p, p.reference) for p in by_id.values() if p.reference}
        programs = []
        for answer in answers:
            problem = by_id[answer.problem_id]
            code = extract_program(prefix_of(problem, round_.settings) + answer.text)
            programs.append(store.ensure_program(problem, code) if code else None)
    ids = json.dumps(sorted({*references.values(), *filter(None, programs)}))
    for _ in run_and_store(
        store,
        store.pending_programs("select value from json_each(?)", limits_key(limits), ids),
        limits,
        make_sandbox,
    ):
        pass
    sql = """select e.program_id, e.compiled, b.outputs from executions e join behaviours b on b.id = e.behaviour_id
             where e.limits = ? and e.program_id in (select value from json_each(?))"""
    ran = {row["program_id"]: row for row in store.rows(sql, limits_key(limits), ids)}
    outputs = {id: [t if s == "ok" else None for s, t, _ in json.loads(row["outputs"])] for id, row in ran.items()}
    return [
        Judged(
            answer.problem_id,
            program is not None
            and is_correct(
                outputs[program], outputs[references[answer.problem_id]], kind=by_id[answer.problem_id].kind
            ),
            program is not None and bool(ran[program]["compiled"]),
            answer.finish == "length",
            len(answer.token_ids),
        )
        for answer, program in zip(answers, programs, strict=True)
    ]


def summarise(judged: Sequence[Judged], way: tuple[Prompt, bool, int, float]) -> Result:
    """Return the means over the problems of their shares of right answers, and the shares of all answers."""
    by_problem: dict[str, list[bool]] = {}
    for one in judged:
        by_problem.setdefault(one.problem_id, []).append(one.correct)
    rates = [fmean(rights) for rights in by_problem.values()]
    error = stdev(rates) / math.sqrt(len(rates)) if len(rates) > 1 else 0.0
    return Result(
        fmean(rates),
        fmean(one.tokens for one in judged),
        error,
        fmean(one.parsed for one in judged),
        fmean(one.cut for one in judged),
        way,
    )


if __name__ == "__main__":
    main()
