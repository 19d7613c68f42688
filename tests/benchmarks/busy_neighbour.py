"""Measure sampling on all cores beside a program that keeps one core busy, for three ways in which threads wait.

Run by hand on an idle machine: `python -m tests.benchmarks.busy_neighbour [MODEL.gguf]`. It prints the tokens per
second alone and beside one busy process: with the setting that this program gives its child processes, with libgomp's
default, and with threads that sleep at once. The rounds are interleaved.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from conself_local.home import Home
from conself_local.machine.resources import usable_cores
from conself_local.model_files.bundled import bundled_model
from conself_local.model_files.model_file import ModelFile, load_model_file
from conself_local.sampling.open_engine import open_llama
from conself_local.sampling.sampler import ChatMessage, SampleRequest

WAITING = {
    "ours": {},
    "libgomp's default": {"GOMP_SPINCOUNT": "300000"},
    "asleep at once": {"OMP_WAIT_POLICY": "passive"},
}
SLOTS, SECONDS, LONGEST = 32, 8.0, 1024


@contextmanager
def environment(values: dict[str, str]) -> Iterator[None]:
    """Set environment variables, and delete them at the end of the block; an earlier value is not restored."""
    os.environ.update(values)
    yield
    for name in values:
        del os.environ[name]


@contextmanager
def busy_processes(number: int) -> Iterator[None]:
    """Run this number of processes, each of which keeps one core busy, and kill them at the end of the block."""
    started = [multiprocessing.Process(target=_spin, daemon=True) for _ in range(number)]
    for process in started:
        process.start()
    yield
    for process in started:
        process.kill()
        process.join()


def _spin() -> None:
    while True:
        pass


def tokens_per_second(model: ModelFile) -> float:
    """Return the tokens per second of the answers that end within SECONDS of the first one, with all slots busy."""
    threads = usable_cores()
    with open_llama(
        model, "BF16", Home(None).cache, slots=SLOTS, threads=threads, longest=LONGEST, use_gpu=False
    ) as engine:
        prompt = engine.encode([ChatMessage("user", "Tell a long story about a bear.")])
        requests = (SampleRequest(str(i), prompt.token_ids, 1.0, 0.95, 16, i) for i in range(1_000_000))
        tokens, started = 0, 0.0
        for completion in engine.sample(requests):
            started = started or time.monotonic()
            if time.monotonic() - started > SECONDS:
                break
            tokens += len(completion.token_ids)
        return tokens / (time.monotonic() - started)


def main() -> None:
    """Print the median rates of every way of waiting, alone and beside one busy process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    model = load_model_file(arguments.model or bundled_model())
    found: dict[tuple[str, int], list[float]] = {}
    for _ in range(arguments.rounds):
        for name, values in WAITING.items():
            for number in (0, 1):
                with environment(values), busy_processes(number):
                    found.setdefault((name, number), []).append(tokens_per_second(model))
    for name in WAITING:
        alone, beside = (statistics.median(found[name, number]) for number in (0, 1))
        print(f"{name}: {alone:.0f} tokens/s alone, {beside:.0f} beside a busy process ({beside / alone:.2f})")


if __name__ == "__main__":
    main()
