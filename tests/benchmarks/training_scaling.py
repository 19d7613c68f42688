"""Measure how training time and peak memory grow with the length of pairs, and with their number.

Run by hand on an idle machine: `python -m tests.benchmarks.training_scaling [MODEL.gguf]`. Every run is a separate
process; tokens are drawn from a seed. Memory should stay flat in the number of pairs, and time should grow in
proportion to it.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from conself_local.model_files.bundled import bundled_model
from conself_local.model_files.model_file import load_model_file
from conself_local.training.job import TokenPair
from tests.benchmarks.training_pairs import make_job

LENGTHS = (128, 256, 512, 1024, 2048)
PAIRS_PER_LENGTH = 8
COUNTS = (64, 256, 1024)
SHORT = 48
"""Tokens of prompt and answers together in the runs that vary the number of pairs."""


def _pair(tokens: int, draw: random.Random) -> TokenPair:
    """Return a pair of random tokens, a third of them each for prompt, chosen and rejected."""
    prompt, chosen, rejected = (tuple(draw.randrange(100, 40000) for _ in range(tokens // 3)) for _ in range(3))
    return TokenPair(prompt, chosen, rejected, 1.0)


def _measure(path: Path, tokens: int, count: int, threads: int) -> None:
    from conself_local.machine.process_memory import peak_bytes
    from conself_local.training.trainer import open_backend, train

    draw = random.Random(0)
    job = make_job(path, load_model_file(path).architecture, tuple(_pair(tokens, draw) for _ in range(count)), threads)
    at: dict[str, float] = {}
    forecast: list[int] = []

    def take(report: dict[str, Any]) -> None:
        at.setdefault(next(iter(report)), time.perf_counter())
        forecast.extend(value for key, value in report.items() if key == "forecast_peak_bytes")

    with tempfile.TemporaryDirectory() as folder:
        train(job, Path(folder), open_backend(job), take)
    seconds = at["done"] - at["forecast"]
    print(json.dumps({"seconds": seconds, "peak_gib": peak_bytes() / 2**30, "forecast_gib": forecast[0] / 2**30}))


def main() -> None:
    """Print time per pair, peak memory and forecast memory for every length and number of pairs."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", nargs="?", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--one", type=int, nargs=2, metavar=("TOKENS", "PAIRS"))
    options = parser.parse_args()
    path = options.model or bundled_model()
    if options.one:
        tokens, count = options.one
        _measure(path, tokens, count, options.threads)
        return
    for tokens, count in [*((length, PAIRS_PER_LENGTH) for length in LENGTHS), *((SHORT, count) for count in COUNTS)]:
        command = [
            sys.executable,
            "-m",
            "tests.benchmarks.training_scaling",
            str(path),
            "--threads",
            str(options.threads),
            "--one",
            str(tokens),
            str(count),
        ]
        found = json.loads(
            subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()[-1]
        )
        each = found["seconds"] / count
        print(
            f"{tokens:5} tokens per pair, {count:5} pairs: {each:.3f} s per pair, peak {found['peak_gib']:.2f} GiB, forecast {found['forecast_gib']:.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
