"""Measure time and peak memory of every stage but training, at two numbers of problems, 15 samples each.

    python -m tests.benchmarks.growth               # 5,000 and 25,000 problems
    python -m tests.benchmarks.growth 1000 3000

Store and stages are the real ones; answers and executions are synthetic (`tests/fakes/synthetic_round.py`). Each stage
runs in a process of its own. Growth is linear if the last column stays near 1: it is the time per problem at the larger
size, divided by that at the smaller one. The exit status is 1 if a stage takes more than 300 MB.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

MOST_BYTES = 300 * 10**6
STAGES = ("start", "observe", "sample", "execute", "grow", "score", "pair")


def main() -> None:
    """Print one row per stage, with both sizes side by side."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sizes", type=int, nargs="*", default=[5_000, 25_000], help="two numbers of problems")
    parser.add_argument("--stage", choices=STAGES, help=argparse.SUPPRESS)
    parser.add_argument("--home", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.stage:
        _run_stage(options.stage, options.home, options.sizes[0])
        return
    small, large = options.sizes
    found = {size: _measure(size) for size in (small, large)}
    print(f"{'stage':<10} {small:>8} problems {large:>17} problems       time per problem")
    for stage in STAGES:
        cells = [found[size][stage] for size in (small, large)]
        texts = [f"{cell['cpu_s']:8.1f} CPU s {cell['peak_bytes'] / 1e6:5.0f} MB" for cell in cells]
        ratio = (cells[1]["cpu_s"] / large) / max(1e-9, cells[0]["cpu_s"] / small)
        print(f"{stage:<10} {texts[0]}     {texts[1]}     {ratio:.2f}")
    for size in (small, large):
        print(f"file of {size} problems: {found[size]['file']['bytes'] / 2**20:.0f} MiB")
    if any(cell.get("peak_bytes", 0) > MOST_BYTES for stages in found.values() for cell in stages.values()):
        sys.exit("a stage took more than 300 MB")


def _measure(size: int) -> dict[str, dict[str, float]]:
    """Return CPU seconds and peak memory of each stage of one round."""
    with tempfile.TemporaryDirectory() as folder:
        found: dict[str, dict[str, float]] = {}
        for stage in STAGES:
            command = [sys.executable, "-m", "tests.benchmarks.growth", str(size), "--stage", stage, "--home", folder]
            done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
            found[stage] = json.loads(done.stdout)
            print(f"{size} problems, {stage}: {found[stage]['cpu_s']:.1f} CPU s", file=sys.stderr)
        files = Path(folder).glob("conself.db*")
        return found | {"file": {"bytes": float(sum(path.stat().st_size for path in files))}}


def _run_stage(stage: str, home: Path, size: int) -> None:
    """Run one stage in this process, and print what it took as JSON."""
    from conself_local.events import ignore_events
    from conself_local.stages.augment import augment_inputs
    from conself_local.stages.execute import OverlappedExecution, execute_programs
    from conself_local.stages.sample import sample_observations, sample_programs
    from conself_local.stages.score import build_round_pairs, score_problems
    from conself_local.store.store import Store
    from tests.fakes.synthetic_round import ScriptedSampler, make_problems, make_sandbox, start_round

    with Store(home / "conself.db") as store, contextlib.ExitStack() as after:
        started = time.process_time()
        if stage == "start":
            start_round(store, make_problems(size))
        round_ = store.round(1)
        if stage == "observe":
            sample_observations(store, round_, ScriptedSampler(), None, ignore_events)
        elif stage == "sample":
            beside = after.enter_context(OverlappedExecution(store, round_, make_sandbox, lambda shared: None))
            sample_programs(store, round_, ScriptedSampler(), None, ignore_events, beside.poll)
        elif stage == "execute":
            store.db.execute("delete from executions where rowid % 2 = 0")  # as if the round had been interrupted
            execute_programs(store, round_, make_sandbox, ignore_events)
        elif stage == "grow":
            augment_inputs(store, round_, make_sandbox, ignore_events)
        elif stage == "score":
            score_problems(store, round_, ignore_events)
        elif stage == "pair":
            build_round_pairs(store, round_, ignore_events)
        after.close()
        seconds = time.process_time() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    print(json.dumps({"cpu_s": seconds, "peak_bytes": peak}))


if __name__ == "__main__":
    main()
