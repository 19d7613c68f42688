"""Compare the engine's tokens per second, and programs that parse per minute, with what a user would use instead.

Run by hand on an idle machine: `python -m tests.benchmarks.sampling_speed [MODEL.gguf]` (`pip install xllamacpp` for
the server). Every method gets the same file, prompts (3 per problem), samples (5 per prompt), temperature, top-p and
longest answer. Rounds are interleaved, so that a slow minute of the machine affects every method; the slow methods get
fewer problems per round. `--format` chooses converted weights in another format than BF16.
`--engine openvino` measures OpenVINO (from F16) against all of them, our llama.cpp engine included, and prints the bound
of each engine beside it: what a bare loop over the same library reaches with the same prompts and length of answers, in
tokens. `--precision f32` computes in float32, `--isa AVX2` also without AVX-512 and AMX, as most laptops do; it holds
OpenVINO back only, not llama.cpp.
"""

from __future__ import annotations

import argparse
import ast
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conself_local.home import Home
from conself_local.model_files.bundled import bundled_model
from conself_local.model_files.converted_weights import ensure_converted_weights
from conself_local.model_files.model_file import ModelFile, load_model_file
from conself_local.problems.load import load_starter
from conself_local.sampling.amx import amx_is_off
from conself_local.sampling.config import LLAMA_CPP, OPENVINO
from conself_local.sampling.engine_process import EngineProcess, LlamaProcess
from conself_local.sampling.extract import extract_program
from conself_local.sampling.openvino_process import OpenVinoProcess
from conself_local.sampling.openvino_runtime import RuntimeOptions
from conself_local.sampling.prompts import program_messages
from conself_local.sampling.sampler import ChatMessage, SampleRequest
from tests.benchmarks.peer_server import SLOTS as PEER_SLOTS

OBSERVATIONS = (
    "Think about empty input and other edge cases first.",
    "A simple loop with a running result is enough.",
    "The built-in functions of Python do most of the work.",
)
SAMPLES = 5
TEMPERATURE, TOP_P, MAX_TOKENS = 1.0, 0.8, 128


@dataclass(frozen=True)
class Sampled:
    """Counts and duration of one measured round of one method."""

    tokens: int
    programs: int
    """The number of programs that parse."""
    answers: int
    seconds: float


Prompts = Sequence[list[ChatMessage]]


def load_prompts(problems: int) -> list[list[ChatMessage]]:
    """Return three prompts per problem, for the first `problems` training problems of the starter pack."""
    starter = load_starter(("train",))
    return [program_messages(p, o) for p in starter[:problems] for o in OBSERVATIONS]


def _parses(text: str) -> bool:
    code = extract_program(text)
    try:
        return bool(code and ast.parse(code))
    except (SyntaxError, ValueError):
        return False


def _sample_with_engine(engine: EngineProcess, prompts: Prompts, seed: int) -> Iterator[tuple[int, str]]:
    def requests() -> Iterator[SampleRequest]:
        for i, messages in enumerate(prompts):
            encoded = engine.encode(messages)
            for k in range(SAMPLES):
                yield SampleRequest(
                    f"{i}/{k}", encoded.token_ids, TEMPERATURE, TOP_P, MAX_TOKENS, seed + i * SAMPLES + k
                )

    for completion in engine.sample(requests()):
        yield len(completion.token_ids), completion.text


def _sample_in_a_loop(llama: Any, prompts: Prompts, seed: int) -> Iterator[tuple[int, str]]:
    for i, messages in enumerate(prompts):
        for k in range(SAMPLES):
            answer = llama.create_chat_completion(
                [{"role": m.role, "content": m.content} for m in messages],
                temperature=TEMPERATURE,
                top_p=TOP_P,
                top_k=0,
                min_p=0.0,
                repeat_penalty=1.0,
                max_tokens=MAX_TOKENS,
                seed=seed + i * SAMPLES + k,
            )
            yield answer["usage"]["completion_tokens"], answer["choices"][0]["message"]["content"] or ""


def _sample_from_server(address: str, prompts: Prompts, seed: int) -> Iterator[tuple[int, str]]:
    def ask(job: tuple[list[ChatMessage], int]) -> tuple[int, str]:
        messages, number = job
        body = {
            "messages": [{"role": m.role, "content": m.content} for m in messages],
            "temperature": TEMPERATURE,
            "top_p": TOP_P,
            "top_k": 0,
            "min_p": 0.0,
            "repeat_penalty": 1.0,
            "max_tokens": MAX_TOKENS,
            "seed": number,
            "cache_prompt": True,
        }
        request = urllib.request.Request(
            f"{address}/v1/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request) as response:
            answer = json.load(response)
        return answer["usage"]["completion_tokens"], answer["choices"][0]["message"]["content"] or ""

    jobs = [(messages, seed + i * SAMPLES + k) for i, messages in enumerate(prompts) for k in range(SAMPLES)]
    with ThreadPoolExecutor(PEER_SLOTS) as threads:
        yield from threads.map(ask, jobs)


def _measure(sample: Callable[[Prompts, int], Iterator[tuple[int, str]]], prompts: Prompts, seed: int) -> Sampled:
    started = time.perf_counter()
    answers = list(sample(prompts, seed))
    seconds = time.perf_counter() - started
    return Sampled(sum(n for n, _ in answers), sum(_parses(text) for _, text in answers), len(answers), seconds)


@contextmanager
def _peer_server(path: Path, threads: int) -> Iterator[str]:
    command = [sys.executable, "-m", "tests.benchmarks.peer_server", str(path), str(threads)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        yield process.stdout.readline().strip()
        process.stdin.close()
        process.kill()


def main() -> None:
    """Print the rates of every method and round, and the median ratios of the engine to its peers."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", nargs="?", type=Path)
    parser.add_argument("--engine", choices=[LLAMA_CPP, OPENVINO], default=LLAMA_CPP)
    parser.add_argument("--precision", default="", help="OpenVINO's arithmetic: f32 or bf16 (default: the fastest)")
    parser.add_argument("--isa", help="highest instruction set of OpenVINO, such as AVX2; needs --precision f32")
    parser.add_argument("--format", default="BF16", help="of our llama.cpp engine")
    parser.add_argument("--slots", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--problems", type=int, default=40, help="in total; the peers get a quarter of them")
    parser.add_argument("--rounds", type=int, default=2)
    arguments = parser.parse_args()
    if arguments.isa:
        os.environ["ONEDNN_MAX_CPU_ISA"] = arguments.isa
    model = load_model_file(arguments.model or bundled_model())
    weights = ensure_converted_weights(model, arguments.format, Home(None).cache)
    prompts = load_prompts(arguments.problems)
    per_round = len(prompts) // arguments.rounds
    results: dict[str, list[Sampled]] = {}
    bounds: dict[str, list[float]] = {}
    with (
        _peer_server(model.path, arguments.threads)
        if importlib.util.find_spec("xllamacpp")
        else _no_server() as address
    ):
        for r in range(arguments.rounds):
            mine = prompts[r * per_round : (r + 1) * per_round]
            for name, sample, some in _methods(model, weights, arguments, address, mine):
                results.setdefault(name, []).append(_measure(sample, some, seed=1000 * r))
                _print_rates(name, results[name][-1])
            if arguments.engine == OPENVINO:
                _measure_bounds(model, weights, arguments, mine, results, bounds)
    _compare(results)
    for name, rates in bounds.items():
        shares = [s.tokens / s.seconds / rate for s, rate in zip(results[name], rates, strict=True)]
        print(f"{name} / its bare loop, tokens/s: {statistics.median(shares):.2f}")


def _measure_bounds(
    model: ModelFile,
    weights: Path,
    arguments: argparse.Namespace,
    prompts: Prompts,
    results: dict[str, list[Sampled]],
    bounds: dict[str, list[float]],
) -> None:
    """Append the tokens per second that a bare loop over each engine's library reaches in this round."""
    from tests.benchmarks.engine_limit import BareLoop
    from tests.benchmarks.openvino_limit import bare_rate

    with LlamaProcess(model, slots=1, context_tokens=1024, threads=1) as vocabulary:
        tokens = [vocabulary.encode(messages).token_ids for messages in prompts]
    names = list(results)[:2]
    lengths = [round(results[name][-1].tokens / results[name][-1].answers) for name in names]
    slots, threads = arguments.slots, arguments.threads
    options = RuntimeOptions(slots, slots * 512, threads, precision=arguments.precision)
    openvino = ensure_converted_weights(model, "F16", Home(None).cache)
    bare = BareLoop(weights, slots, 512, threads)
    rates = [bare_rate(openvino, options, tokens, SAMPLES, lengths[0]), bare.run(tokens, lengths[1])]
    bare.close()
    for name, rate in zip(names, rates, strict=True):
        bounds.setdefault(name, []).append(rate)
        print(f"{'bare loop of ' + name:32s} {rate:6.0f} tokens/s", flush=True)


@contextmanager
def _no_server() -> Iterator[None]:
    yield None


def _methods(
    model: ModelFile, weights: Path, arguments: argparse.Namespace, address: str | None, prompts: Prompts
) -> Iterator[Any]:
    """Yield (name, function that samples, its prompts), one after the other.

    Each method is closed before the next one is opened, and none loads its model while it is measured.
    """
    if arguments.engine == OPENVINO:
        with OpenVinoProcess(
            model,
            ensure_converted_weights(model, "F16", Home(None).cache),
            slots=arguments.slots,
            context_tokens=arguments.slots * 512,
            longest=512,
            threads=arguments.threads,
            precision=arguments.precision,
        ) as engine:
            engine.encode(prompts[0])
            yield f"OpenVINO, F16 {arguments.precision}", lambda p, seed: _sample_with_engine(engine, p, seed), prompts
    with LlamaProcess(
        model, slots=arguments.slots, context_tokens=arguments.slots * 512, threads=arguments.threads, weights=weights
    ) as llama_engine:
        llama_engine.encode(prompts[0])
        yield (
            f"the engine, {arguments.format}",
            lambda p, seed: _sample_with_engine(llama_engine, p, seed),
            prompts,
        )
    few = prompts[: max(1, len(prompts) // 4)]
    from llama_cpp import Llama

    with amx_is_off():
        llama = Llama(
            str(model.path), n_ctx=1024, n_threads=arguments.threads, n_threads_batch=arguments.threads, verbose=False
        )
    yield "Llama.create_chat_completion", lambda p, seed: _sample_in_a_loop(llama, p, seed), few
    llama.close()
    if address:
        yield f"xllamacpp server, {PEER_SLOTS} slots", lambda p, seed: _sample_from_server(address, p, seed), few


def _print_rates(name: str, s: Sampled) -> None:
    print(
        f"{name:32s} {s.tokens / s.seconds:6.0f} tokens/s   {60 * s.programs / s.seconds:6.0f} programs that parse per minute   "
        f"{s.tokens / s.answers:5.1f} tokens per answer   {s.programs / s.answers:.2f} of them parse",
        flush=True,
    )


def _compare(results: dict[str, list[Sampled]]) -> None:
    ours, *peers = results
    for peer in peers:
        pairs = list(zip(results[ours], results[peer], strict=True))
        tokens = statistics.median((a.tokens / a.seconds) / (b.tokens / b.seconds) for a, b in pairs)
        print(f"{ours} / {peer}, tokens/s: {tokens:.2f}")
        if all(b.programs for _, b in pairs):
            programs = statistics.median((a.programs / a.seconds) / (b.programs / b.seconds) for a, b in pairs)
            print(f"{ours} / {peer}, programs that parse: {programs:.2f}")


if __name__ == "__main__":
    main()
