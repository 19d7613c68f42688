"""Measure the peak memory of `conself problems import` on files of different sizes, in the documented format of APPS.

    python -m tests.benchmarks.import_memory --gib 0.1 2

Each file is written, imported in a separate process, and deleted. Memory is flat if the large file needs about as much
as the small one.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def main() -> None:
    """Print the peak memory and the time of the import for every size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gib", type=float, nargs="+", default=[0.1, 2.0])
    parser.add_argument("--record-kib", type=int, default=24, help="approximate size of one record")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for gib in options.gib:
            source, target = Path(folder) / "apps.jsonl", Path(folder) / "mine.jsonl"
            records = _write(source, int(gib * 2**30), options.record_kib * 1024)
            started = time.monotonic()
            peak, summary = _import(source, target)
            print(
                f"{source.stat().st_size / 2**30:.2f} GiB, {records} records: peak {peak / 2**20:.0f} MiB, {time.monotonic() - started:.0f} s; {summary}"
            )
            source.unlink()
            target.unlink()


def _write(path: Path, size: int, record_bytes: int) -> int:
    """Write different problems with long tests until the file has `size` bytes, and return their number."""
    draw = random.Random(0)
    words = [f"word{i}" for i in range(5000)]
    number = 0
    with path.open("w") as file:
        while file.tell() < size:
            text = "7 " * (record_bytes // 8)
            tests = {"inputs": [f"{number} 2\n{text}\n", "3 4\n"], "outputs": [text, "7"]}
            record = {
                "problem_id": number,
                "question": " ".join(draw.choices(words, k=60)),
                "solutions": "[]",
                "starter_code": "",
                "input_output": json.dumps(tests),
            }
            file.write(json.dumps(record) + "\n")
            number += 1
    return number


def _import(source: Path, target: Path) -> tuple[int, str]:
    """Return (peak resident bytes, the first line that the import printed)."""
    command = [sys.executable, "-m", "conself_local", "problems", "import", str(source), "--to", str(target)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    summary = process.stdout.readline().strip()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"the import failed with status {status}")
    return usage.ru_maxrss * 1024, summary


if __name__ == "__main__":
    main()
