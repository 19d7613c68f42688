"""Measure what `conself ask --best-of` gains: greedy, best-of-8, best-of-16, and the consensus on the given inputs.

    python -m tests.benchmarks.best_of MODEL.gguf --humaneval --out humaneval.jsonl
    python -m tests.benchmarks.best_of MODEL.gguf --problems mbpp.jsonl --split validation --out mbpp.jsonl

Per problem, one greedy and 16 sampled programs and a list of calls are generated, all through one engine and with the
plain prompt, in which somebody would ask. Best-of-8 and best-of-16 stop as `ask` does and share the samples. Their
inputs are made from the question and the model's calls only; the inputs of the problem judge, and they are the votes of
the consensus. Outputs of examples that a question states count as in `ask`; a row says what the votes give without them.
The answers to every finished problem are one line of the file of `--out`, and are not sampled again; they are run and
judged whenever the table is printed, so a change of the votes needs no new answers. The seconds are wall time of the
whole batch, shared out by tokens: a single question takes longer.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from conself_local.evaluation.judge import is_correct
from conself_local.evaluation.statistics import paired_bootstrap
from conself_local.hashes import content_id
from conself_local.home import Home
from conself_local.machine.resources import usable_cores
from conself_local.method.behaviour import comparison_key
from conself_local.method.best_of import Candidate, tally
from conself_local.model_files.bundled import bundled_model
from conself_local.model_files.converted_weights import FORMATS
from conself_local.model_files.model_file import ModelFile, load_model_file
from conself_local.problems.formats.human_eval import packaged_file
from conself_local.problems.load import load_problems
from conself_local.problems.problem import SPLITS, Problem
from conself_local.sampling.engine_process import EngineProcess
from conself_local.sampling.extract import extract_program, parse_calls
from conself_local.sampling.open_engine import open_engine
from conself_local.sampling.prompts import call_messages, program_messages
from conself_local.sampling.sampler import Completion, SampleRequest
from conself_local.sampling.tuning import sampling_config
from conself_local.serving.best_of import BLOCK, CALL_TOKENS, CALLS, MOST, TEMPERATURE, TOP_P
from conself_local.serving.evidence import Evidence, SampledProgram
from conself_local.serving.program_runner import LIMITS
from conself_local.serving.question import (
    AskedFunction,
    QuestionInputs,
    asked_function,
    examples_of,
    question_inputs,
    with_types,
)
from conself_local.settings import LAPTOP, replace_values
from conself_local.stages.execute import limits_of
from conself_local.stages.prompting import encode_program, prefix_of
from conself_local.stages.seeds import seed_for
from sandbox import Program, ProgramResult, Sandbox

ARMS = ("best-of-8", "best-of-16", "best-of-16, without the outputs of examples")
CAUTIOUS = "best-of-16, the greedy answer if not sure"
ASKED = replace_values(LAPTOP, {"sampling.prompt": "plain"})
_CONTEXT = 1536
_MAX_LINE_BYTES = 64 * 2**20


def main() -> None:
    """Sample the answers that the file lacks, then run and judge all of them, and print the table."""
    options = _options()
    model = load_model_file(options.model or bundled_model())
    home = Home(options.home)
    config = sampling_config(model, home.cache)
    config = dataclasses.replace(
        config, format=options.format or config.format, slots=options.slots or config.slots,
        threads=options.threads or config.threads,
    )  # fmt: skip
    problems = _problems(options)
    key = content_id("best-of", [model.sha256, str(config.format), config.engine, options.seed, ASKED.sampling.prompt])
    done = _finished(options.out, key)
    pending = [problem for problem in problems if problem.id not in done]
    print(f"{model.name}, {config}: {len(problems)} problems, {len(pending)} to sample", flush=True)
    if pending:
        with open_engine(model, config, home.cache, longest=_CONTEXT, use_gpu=True, on_notice=print) as engine:
            for row in _sample(engine, pending, options.seed):
                _append(options.out, row | {"key": key})
                done[row["id"]] = row
                print(f"{len(done)}: {row['id']}", flush=True)
    judging = Sandbox(limits_of(LAPTOP), workers=options.workers, repeat=False)
    with judging, Sandbox(LIMITS, workers=options.workers) as voting:
        rows = [_row(_Open.load(p, done[p.id]), voting, judging, options.seed) for p in problems]
    print_table(rows, _name(model))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, nargs="?", help="GGUF file (default: the bundled model)")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--humaneval", action="store_true", help="the 164 problems of the package human-eval")
    source.add_argument("--problems", type=Path, help="a problems file; problems without a reference are left out")
    parser.add_argument("--split", choices=SPLITS, help="only problems of this split")
    parser.add_argument("--limit", type=int, help="only the first problems")
    parser.add_argument("--out", type=Path, required=True, help="JSON lines, one per finished problem")
    parser.add_argument("--home", type=Path, help="home whose cache holds converted weights and the result of tune")
    parser.add_argument("--format", choices=FORMATS)
    parser.add_argument("--slots", type=int)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--workers", type=int, default=usable_cores(), help="programs that run at once")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def _name(model: ModelFile) -> str:
    return f"{model.name} ({model.path.name})"


def _problems(options: argparse.Namespace) -> list[Problem]:
    path = packaged_file() if options.humaneval else options.problems
    loaded = load_problems(path, lambda limits: Sandbox(limits, workers=options.workers)).problems
    found = [
        p for p in loaded
        if p.reference and p.kind == "function" and (options.split is None or p.split == options.split)
    ]  # fmt: skip
    return found[: options.limit]


# -- the file of finished problems ----------------------------------------------------------------------------


def _finished(path: Path, key: str) -> dict[str, dict[str, Any]]:
    """Return the finished problems of this model and seed; a line that was cut short by a kill is removed."""
    if not path.exists():
        return {}
    raw = path.read_bytes()[:_MAX_LINE_BYTES]
    whole = raw[: raw.rfind(b"\n") + 1]
    if whole != raw:
        path.write_bytes(whole)
    rows = [json.loads(line) for line in whole.splitlines()]
    return {row["id"]: row for row in rows if row["key"] == key}


def _append(path: Path, row: dict[str, Any]) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


# -- sampling -------------------------------------------------------------------------------------------------


@dataclass
class _Open:
    """A problem whose completions are still arriving."""

    problem: Problem
    prefix: str
    function: AskedFunction | None = None
    greedy: Completion | None = None
    calls: Completion | None = None
    samples: dict[int, Completion] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def question(self) -> str:
        return program_messages(self.problem, prompt=ASKED.sampling.prompt)[0].content

    def save(self) -> dict[str, Any]:
        """Return the answers as JSON; `load` is the inverse."""
        return {
            "id": self.problem.id,
            "greedy": _saved(self.greedy),
            "calls": _saved(self.calls),
            "samples": [_saved(self.samples[k]) for k in sorted(self.samples)],
        }

    @classmethod
    def load(cls, problem: Problem, row: dict[str, Any]) -> _Open:
        """Return a problem with the answers of a line of the file."""
        one = cls(problem, prefix_of(problem, ASKED), seconds=row["seconds"])
        one.samples = {k: _loaded(sample) for k, sample in enumerate(row["samples"])}
        one.take_greedy(_loaded(row["greedy"]))
        one.calls = _loaded(row["calls"]) if row["calls"] else None
        return one

    def take_greedy(self, completion: Completion) -> None:
        """Note the greedy answer, and the function that is asked for if its arguments can be literals."""
        self.greedy = completion
        asked = asked_function(self.question, extract_program(self.prefix + completion.text) or "")
        self.function = asked if asked is not None and asked.is_callable else None

    @property
    def is_complete(self) -> bool:
        return len(self.samples) == MOST and self.greedy is not None and (not self.function or self.calls is not None)


def _saved(completion: Completion | None) -> dict[str, Any] | None:
    return None if completion is None else dataclasses.asdict(completion)


def _loaded(values: dict[str, Any]) -> Completion:
    return Completion(**values | {"token_ids": tuple(values["token_ids"])})


class _Queue:
    """An iterator over requests that may be empty for a while and grow again; `refill` is called when it is empty."""

    def __init__(self, refill: Callable[[], None]) -> None:
        self.requests: deque[SampleRequest] = deque()
        self._refill = refill

    def __iter__(self) -> _Queue:
        return self

    def __next__(self) -> SampleRequest:
        if not self.requests:
            self._refill()
        if not self.requests:
            raise StopIteration
        return self.requests.popleft()


def _sample(engine: EngineProcess, problems: Sequence[Problem], seed: int) -> Iterator[dict[str, Any]]:
    """Yield the answers to each problem as soon as all are there; the engine samples on meanwhile."""
    waiting = deque(problems)
    opened: dict[str, _Open] = {}
    queue = _Queue(lambda: _fill(queue, waiting, opened, engine, seed))
    last = time.monotonic()
    while waiting or opened:
        for completion in engine.sample(queue):
            id, _, part = completion.key.rpartition("#")
            one = opened[id]
            if request := _take(one, part, completion, engine, seed):
                queue.requests.appendleft(request)
            if one.is_complete:
                del opened[id]
                now = time.monotonic()
                yield one.save() | {"seconds": now - last}
                last = now


def _fill(queue: _Queue, waiting: deque[Problem], opened: dict[str, _Open], engine: EngineProcess, seed: int) -> None:
    """Open the next problem, if there is one, and put its requests into the queue."""
    if waiting:
        problem = waiting.popleft()
        prompt, prefix = encode_program(engine, problem, ASKED)
        opened[problem.id] = _Open(problem, prefix)
        for number in range(-1, MOST):
            greedy = number < 0
            queue.requests.append(
                SampleRequest(
                    f"{problem.id}#{number}", prompt.token_ids, 0.0 if greedy else TEMPERATURE,
                    1.0 if greedy else TOP_P,
                    LAPTOP.evaluation.max_new_tokens if greedy else LAPTOP.sampling.max_new_tokens,
                    seed_for(seed, problem.id, "best-of", number), prefix, stop_at_fence=True, stop_at_repetition=True,
                )
            )  # fmt: skip


def _take(one: _Open, part: str, completion: Completion, engine: EngineProcess, seed: int) -> SampleRequest | None:
    """Note a completion; the greedy one says which function is asked for, so the request for calls follows it."""
    if part == "calls":
        one.calls = completion
        return None
    if part != "-1":
        one.samples[int(part)] = completion
        return None
    one.take_greedy(completion)
    if one.function is None:
        return None
    given = [example.arguments for example in examples_of(one.question, one.function)[0]]
    prompt = engine.encode(call_messages(one.question, one.function.name, given, CALLS))
    return SampleRequest(
        f"{one.problem.id}#calls", prompt.token_ids, 0.0, 1.0, CALL_TOKENS, seed, stop_at_repetition=True
    )


# -- judging --------------------------------------------------------------------------------------------------


def _row(one: _Open, voting: Sandbox, judging: Sandbox, seed: int) -> dict[str, Any]:
    """Run the programs of one problem, and return what each way of choosing gives and costs."""
    assert one.greedy, "a complete problem has its greedy answer"
    problem = one.problem
    greedy = extract_program(one.prefix + one.greedy.text) or ""
    ordered = [one.samples[k] for k in sorted(one.samples)]
    codes = [extract_program(one.prefix + c.text) for c in ordered]
    every = dict.fromkeys(code for code in (greedy, *codes) if code)
    judged = _run(judging, [*every, problem.reference or ""], problem.entry_point, problem.inputs)
    expected = [o.text for o in judged[problem.reference or ""].outputs]
    right = {
        code: is_correct([o.text for o in judged[code].outputs], expected, kind=problem.kind) for code in every
    } | {"": False}
    inputs = _inputs(one, seed)
    results = _run(voting, list(every), one.function.name, inputs.values) if one.function and inputs else {}
    samples = [
        SampledProgram(code, results.get(code or ""), c.mean_nll, c.token_ids)
        for code, c in zip(codes, ordered, strict=True)
    ]
    row: dict[str, Any] = {
        "id": problem.id,
        "seconds": one.seconds,
        "inputs": len(inputs.values) if inputs else 0,
    }
    greedy_tokens = len(one.greedy.token_ids)
    rights, tokens, kinds = {"greedy": right[greedy]}, {"greedy": greedy_tokens}, {}
    for arm, most in zip(ARMS, (8, 16, 16), strict=True):
        without = None if inputs is None or arm != ARMS[2] else dataclasses.replace(inputs, expected={})
        chosen, used, kinds[arm] = _best_of(one, greedy, samples, results.get(greedy), without or inputs, most)
        rights[arm] = right[chosen]
        spent = sum(len(sample.token_ids) for sample in samples[:used])
        tokens[arm] = greedy_tokens + spent + (len(one.calls.token_ids) if one.calls else 0)
    rights[CAUTIOUS] = right[greedy] if kinds[ARMS[1]] == "unsure" else rights[ARMS[1]]
    rights["consensus"] = right[_consensus(samples, judged)]
    rights["any of 16"] = any(right[code] for code in codes if code)
    tokens[CAUTIOUS] = tokens[ARMS[1]]
    tokens["all"] = greedy_tokens + sum(len(c.token_ids) for c in (*ordered, *([one.calls] if one.calls else [])))
    return row | {"right": rights, "tokens": tokens, "kinds": kinds}


def _run(sandbox: Sandbox, codes: Sequence[str], name: str, inputs: Sequence[object]) -> dict[str, ProgramResult]:
    programs = [Program(str(k), code, "function", name, inputs) for k, code in enumerate(codes)]
    return {codes[int(result.program_id)]: result for result in sandbox.run(programs)}


def _inputs(one: _Open, seed: int) -> QuestionInputs | None:
    """Return the self-made inputs of a problem; None if there are none."""
    if one.function is None:
        return None
    examples, contradicting = examples_of(one.question, one.function)
    asked = parse_calls(one.calls.text, one.function.name) if one.calls else []
    texts = [one.greedy.text if one.greedy else "", *(one.samples[k].text for k in range(BLOCK))]
    function = with_types(one.function, [code for text in texts if (code := extract_program(one.prefix + text))])
    found = question_inputs(function, examples, contradicting, asked, f"{seed}/{one.problem.id}")
    return found if found.values else None


def _best_of(
    one: _Open,
    greedy: str,
    samples: Sequence[SampledProgram],
    first: ProgramResult | None,
    inputs: QuestionInputs | None,
    most: int,
) -> tuple[str, int, str]:
    """Return the program that is shown, how many samples it took, and the kind of the verdict."""
    if one.function is None or inputs is None:
        return greedy, 0 if one.function is None else BLOCK, "single"
    evidence = Evidence(one.function, inputs, "the first answer", greedy)
    evidence.first = first
    used = 0
    while used < most and not (used and evidence.is_sure):
        used += BLOCK
        evidence.samples = list(samples[:used])
    verdict = evidence.verdict()
    return greedy if verdict.answer == "the first answer" else verdict.code, used, verdict.kind


def _consensus(samples: Sequence[SampledProgram], judged: dict[str, ProgramResult]) -> str:
    """Return the program that wins the votes of all samples on the inputs that judge."""
    ran = [dataclasses.replace(sample, result=judged[sample.code]) for sample in samples if sample.code]
    steady = [sample for sample in ran if sample.result and sample.result.deterministic is not False]
    candidates = [
        Candidate(
            tuple(None if o.text is None else comparison_key(o.text) for o in sample.result.outputs),
            sample.mean_nll,
            len(sample.code or ""),
        )
        for sample in steady
        if sample.result
    ]
    winner = tally(candidates, len(samples)).winner
    return "" if winner is None else steady[winner].code or ""


# -- the table ------------------------------------------------------------------------------------------------


def print_table(rows: Sequence[dict[str, Any]], name: str) -> None:
    """Print pass@1 of each arm with the interval of its difference from greedy, tokens and seconds per question."""
    if not rows:
        print("no problem is finished")
        return
    greedy = [float(row["right"]["greedy"]) for row in rows]
    seconds_per_token = sum(row["seconds"] for row in rows) / max(1, sum(row["tokens"]["all"] for row in rows))
    print(f"\n{name}: {len(rows)} problems, {sum(row['inputs'] > 0 for row in rows)} with self-made inputs\n")
    print("| | right | minus greedy, points (95 %) | seconds | tokens |\n|---|---|---|---|---|")
    for arm, shown in {
        "greedy": "greedy", **{name: name for name in (*ARMS, CAUTIOUS)}, "consensus": "consensus@16 on the given inputs",
        "any of 16": "any of 16 right",
    }.items():  # fmt: skip
        scores = [float(row["right"][arm]) for row in rows]
        mean, low, high = (100 * value for value in paired_bootstrap(greedy, scores, seed=0))
        difference = "" if arm == "greedy" else f"{mean:+.1f} ({low:+.1f} to {high:+.1f})"
        cost = " | "
        if arm in rows[0]["tokens"]:
            tokens = sum(row["tokens"][arm] for row in rows) / len(rows)
            cost = f"{tokens * seconds_per_token:.1f} | {tokens:.0f}"
        print(f"| {shown} | {sum(scores) / len(rows):.3f} | {difference} | {cost} |")
    kinds = [row["kinds"][ARMS[1]] for row in rows]
    print("\nbest-of-16: " + ", ".join(f"{kinds.count(kind)} {kind}" for kind in sorted(set(kinds))))


if __name__ == "__main__":
    main()
