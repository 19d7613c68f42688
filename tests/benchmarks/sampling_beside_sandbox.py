"""Measure sampling and running programs at the same time, each with half of the cores, against each of them alone.

Run by hand on an idle machine: `python -m tests.benchmarks.sampling_beside_sandbox`. Alone, each has half of the cores
too. The printed value is the mean of the two shares: (tokens/s together / tokens/s alone + programs/s together /
programs/s alone) / 2.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Iterator

from conself_local.home import Home
from conself_local.machine.resources import usable_cores
from conself_local.model_files.bundled import bundled_model
from conself_local.model_files.converted_weights import ensure_converted_weights
from conself_local.model_files.model_file import load_model_file
from conself_local.sampling.engine_process import LlamaProcess
from sandbox import Limits, Program, Sandbox
from tests.benchmarks.sampling_speed import load_prompts
from tests.benchmarks.sandbox_speed import load_programs

SECONDS = 5.0
ROUNDS = 5


def _run_programs(box: Sandbox, programs: list[Program], until: threading.Event) -> float:
    """Run programs until the event is set, and return the programs per second."""

    def endless() -> Iterator[Program]:
        while not until.is_set():
            yield programs[len(done) % len(programs)]

    done: list[str] = []
    started = time.monotonic()
    for result in box.run(endless()):
        done.append(result.program_id)
    return len(done) / (time.monotonic() - started)


def main() -> None:
    """Print the rates alone and together for every round, and the median of the mean shares."""
    half = max(1, usable_cores() // 2)
    model = load_model_file(bundled_model())
    weights = ensure_converted_weights(model, "BF16", Home(None).cache)
    programs = load_programs(161)
    shares = []
    with (
        Sandbox(Limits(), half) as box,
        LlamaProcess(model, slots=64, context_tokens=64 * 512, threads=half, weights=weights) as engine,
    ):
        prompts = [engine.encode(messages) for messages in load_prompts(24)]
        for _ in range(ROUNDS):
            tokens_alone = engine.measure(prompts, SECONDS, 96)
            until = threading.Event()
            threading.Timer(SECONDS, until.set).start()
            programs_alone = _run_programs(box, programs, until)
            until = threading.Event()
            ran: list[float] = []
            beside = threading.Thread(
                target=lambda ran=ran, until=until: ran.append(_run_programs(box, programs, until))
            )
            beside.start()
            tokens = engine.measure(prompts, SECONDS, 96)
            until.set()
            beside.join()
            shares.append((tokens / tokens_alone + ran[0] / programs_alone) / 2)
            print(
                f"alone {tokens_alone:4.0f} tokens/s and {programs_alone:4.0f} programs/s; "
                f"together {tokens:4.0f} and {ran[0]:4.0f}: {shares[-1]:.2f}",
                flush=True,
            )
    print(f"mean of the two shares: {statistics.median(shares):.2f}")


if __name__ == "__main__":
    main()
