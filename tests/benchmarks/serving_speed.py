"""Measure how many tokens per second `conself serve` gives to one client and to eight at once.

Run by hand on an idle machine: `python -m tests.benchmarks.serving_speed [MODEL.gguf]`. The rounds are interleaved: one
request after another, then eight side by side, with the same prompts. It prints the tokens per second of both and their
ratio.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import threading
import time
from pathlib import Path

import openai

from conself_local.model_files.bundled import bundled_model
from conself_local.model_files.converted_weights import FORMATS
from conself_local.model_files.model_file import load_model_file
from conself_local.sampling.engine_process import LlamaProcess
from conself_local.sampling.open_engine import open_llama
from conself_local.sampling.tuning import sampling_config
from conself_local.serving import BASE_NAME, HOST
from conself_local.serving.program_runner import ProgramRunner
from conself_local.serving.serve_best_of import BestOfServing
from conself_local.serving.server import listen, make_app, serve
from sandbox import Sandbox

CLIENTS, ROUNDS, MAX_TOKENS, CONTEXT = 8, 3, 96, 1024
TASKS = [f"Write a Python function that returns the {word} of a list of numbers." for word in (
    "sum", "product", "largest value", "smallest value", "mean", "median", "sorted copy", "reversed copy",
)]  # fmt: skip


def main() -> None:
    """Print the speeds and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", type=Path)
    parser.add_argument("--format", choices=FORMATS, help="number format of the weights (default: that of a round)")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    model = load_model_file(options.model or bundled_model())
    with tempfile.TemporaryDirectory() as cache:
        weights_format = options.format or sampling_config(model, Path(cache)).format

        def open_engine() -> LlamaProcess:
            return open_llama(
                model,
                weights_format,
                Path(cache),
                slots=CLIENTS,
                threads=options.threads,
                longest=CONTEXT,
                use_gpu=False,
            )

        best_of = BestOfServing(ProgramRunner(Sandbox), 60.0)
        arms = {BASE_NAME: None}
        app = make_app(open_engine, arms, context=CONTEXT, api_key=None, say=lambda line: None, best_of=best_of)
        listening = listen(0)
        port = listening.getsockname()[1]
        threading.Thread(target=serve, args=(app, listening), daemon=True).start()
        client = openai.OpenAI(base_url=f"http://{HOST}:{port}/v1", api_key="none", timeout=600)
        ask(client, TASKS[0])
        alone, together = [], []
        for number in range(ROUNDS):
            alone.append(speed(client, TASKS[number : number + 2], side_by_side=False))
            together.append(speed(client, TASKS, side_by_side=True))
            print(f"round {number + 1}: one client {alone[-1]:.1f}, {CLIENTS} clients {together[-1]:.1f} tokens/s")
    one, eight = statistics.median(alone), statistics.median(together)
    print(f"{weights_format}, median: {one:.1f} and {eight:.1f} tokens/s: {eight / one:.2f} times")


def speed(client: openai.OpenAI, tasks: list[str], *, side_by_side: bool) -> float:
    """Return the tokens per second of all answers together."""
    counts: list[int] = []
    started = time.monotonic()
    threads = [threading.Thread(target=lambda task=task: counts.append(ask(client, task))) for task in tasks]
    for thread in threads:
        thread.start()
        if not side_by_side:
            thread.join()
    for thread in threads:
        thread.join()
    return sum(counts) / (time.monotonic() - started)


def ask(client: openai.OpenAI, task: str) -> int:
    """Return the number of tokens of the answer."""
    answer = client.chat.completions.create(
        model=BASE_NAME,
        messages=[{"role": "user", "content": task}],
        max_tokens=MAX_TOKENS,
        temperature=0.7,
        seed=1,
    )
    assert answer.usage, "a whole answer counts its tokens"
    return answer.usage.completion_tokens


if __name__ == "__main__":
    main()
