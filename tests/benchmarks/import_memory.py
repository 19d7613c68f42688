"""Peak memory of `conself problems import` on files of different sizes, in the documented shape of APPS.

    python -m tests.benchmarks.import_memory --gib 0.1 2

Each file is written, imported in a process of its own, and deleted. Flat means: the large file needs about what the small one does.
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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gib", type=float, nargs="+", default=[0.1, 2.0])
    parser.add_argument("--record-kib", type=int, default=24, help="about the size of one record")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for gib in options.gib:
            source, target = Path(folder) / "apps.jsonl", Path(folder) / "mine.jsonl"
            records = _write(source, int(gib * 2**30), options.record_kib * 1024)
            started = time.monotonic()
            peak, said = _import(source, target)
            print(
                f"{source.stat().st_size / 2**30:.2f} GiB, {records} records: peak {peak / 2**20:.0f} MiB, {time.monotonic() - started:.0f} s; {said}"
            )
            source.unlink()
            target.unlink()


def _write(path: Path, size: int, record_bytes: int) -> int:
    """Different problems with long tests, until the file has `size` bytes."""
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
    """(peak resident bytes, the first line that it said)"""
    command = [sys.executable, "-m", "conself_local", "problems", "import", str(source), "--to", str(target)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    said = process.stdout.readline().strip()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"the import failed with status {status}")
    return usage.ru_maxrss * 1024, said


if __name__ == "__main__":
    main()
