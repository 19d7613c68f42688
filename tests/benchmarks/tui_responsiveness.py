"""Measure the time from a key to its redrawn screen, on a store of 25,000 problems and 375,000 programs.

    python -m tests.benchmarks.tui_responsiveness [--folder DIR] [--without-round]

Meanwhile a real round samples, and another process writes to the same store as a round does. It prints the median and
the 95th percentile for each screen, in milliseconds. A key is sent as the terminal's driver sends it, and timed until
every widget has handled it and the screen is drawn. The store is made once in `--folder` and used again.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import multiprocessing
import random
import tempfile
import time
from pathlib import Path

import numpy as np
from textual import events
from textual.pilot import Pilot

from conself_local.home import Home
from conself_local.problems.problem import Problem
from conself_local.round import process as round_process
from conself_local.settings import LAPTOP
from conself_local.stages.execute import limits_key, limits_of
from conself_local.store.store import Store
from tui.app import ConselfApp
from tui.app_state import AppState

PROBLEMS, SAMPLES = 25_000, 15
KEYS = {
    "problems": ["down", "down", "pagedown", "down", "up", "right", "left", "end", "home", "o", "m"],
    "round": ["down", "up"],
    "pairs": ["down", "down", "up", "pagedown"],
}
PRESSES = 120
_INSERT_SAMPLE = """insert into samples (id, round_id, problem_id, observation, number, prompt_id, program_id, text,
    token_ids, finish, mean_nll, mean_entropy_bits, seed)
    values (?, 1, ?, ?, ?, 'p', ?, 'text', '[1,2,3]', 'fence', 0.5, 0.5, 0)"""


def main() -> None:
    """Make the store if `--folder` has none, start the round and the writer, and print the times."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--without-round", action="store_true", help="do not sample at the same time")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        home = Home(options.folder or Path(temporary))
        with Store(home.database) as store:
            if store.latest_round() is None:
                started = time.monotonic()
                _fill(store)
                print(f"made a store of {home.database.stat().st_size >> 20} MiB in {time.monotonic() - started:.0f} s")
        beside = Home(Path(temporary) / "beside")
        writer = multiprocessing.get_context("spawn").Process(target=_write, args=(home.path,), daemon=True)
        if not options.without_round:
            round_process.start(beside, ["--set", "sampling.prompt=plain"])  # so it samples programs at once
            _wait_for_samples(beside)
            writer.start()
        try:
            asyncio.run(_measure(home))
        finally:
            round_process.stop(beside)
            if writer.is_alive():
                writer.terminate()


def _wait_for_samples(home: Home) -> None:
    with Store(home.database) as store:
        for _ in range(1800):
            if store.value("select count(*) from samples"):
                return
            time.sleep(0.2)
    raise SystemExit(f"the round does not sample: {round_process.tail_log(home)}")


def _write(folder: Path) -> None:
    """Insert a sample every 0.2 s, as a running round does in the store that is on the screen."""
    with Store(Home(folder).database) as store:
        for n in itertools.count():
            id, program = f"made/{n % PROBLEMS:05d}", f"{n % PROBLEMS}-0"
            row = f"1/{id}/9/{time.time_ns()}"
            with store.transaction():
                store.db.execute(_INSERT_SAMPLE, [row, id, 0, 9, program])
            time.sleep(0.2)


def _fill(store: Store) -> None:
    """Write a finished round of a realistic shape directly into the store."""
    draw = random.Random(0)
    problems = [
        Problem(f"made/{i:05d}", f"Return n times {i}.", "function", ((i,), (1,), (2,)), "train", "f", "def f(n):")
        for i in range(PROBLEMS)
    ]
    round_ = store.start_round(
        seed=0,
        settings=LAPTOP,
        model_path=Path("/models/made.gguf"),
        model_sha256="0" * 64,
        template_hash="0",
        base_adapter_id=None,
        versions={},
        request={"evaluation_samples": 0},
        problems=problems,
    )
    key = limits_key(limits_of(LAPTOP))
    outputs = json.dumps([["ok", "1", ""]] * 3)
    with store.transaction():
        db = store.db
        db.execute("insert into prompts values ('p', 'prompt', '[1]')")
        db.execute("insert into behaviours values ('b', ?)", [outputs])
        for i in range(PROBLEMS):
            id = f"made/{i:05d}"
            rows = [(f"{i}-{n}", id, f"def f(n):\n    return n * {n}\n") for n in range(SAMPLES)]
            db.conn.executemany("insert into programs values (?, ?, ?)", rows)
            db.conn.executemany(
                _INSERT_SAMPLE,
                [(f"1/{id}/{n // 5}/{n % 5}", id, n // 5, n % 5, f"{i}-{n}") for n in range(SAMPLES)],
            )
            db.conn.executemany(
                """insert into executions (program_id, limits, behaviour_id, load_status, load_detail, compiled,
                deterministic, wall_s, cpu_s) values (?, ?, 'b', 'ok', '', 1, 1, 0.1, 0.1)""",
                [(f"{i}-{n}", key) for n in range(SAMPLES)],
            )
            entropy = draw.choice([None, 0.0, draw.uniform(0, 3.9)])
            db.execute(
                """insert into metrics (round_id, problem_id, samples, without_program, valid, clusters, largest_share,
                crash_rate, entropy_bits, mean_nll, mean_entropy_bits, selected, pairs)
                values (1, ?, 15, 0, 12, 3, 0.5, ?, ?, 0.5, 0.5, ?, 3)""",
                [id, draw.random(), entropy, i % 7 == 0],
            )
            if i % 10 == 0:
                chosen, rejected = f"1/{id}/0/0", f"1/{id}/0/1"
                db.execute(
                    """insert into pairs (id, round_id, problem_id, position, chosen_id, rejected_id, prompt_id, weight)
                    values (?, 1, ?, ?, ?, ?, 'p', 0.8)""",
                    [f"pair-{i}", id, i, chosen, rejected],
                )
    store.finish_round(round_.id)


async def _measure(home: Home) -> None:
    with AppState(home) as app_state:
        app = ConselfApp(app_state)
        async with app.run_test(size=(140, 40)) as pilot:
            for screen, keys in KEYS.items():
                app.switch_mode(screen)
                await pilot.pause()
                await app.workers.wait_for_complete()
                await pilot.pause()
                times = []
                for n in range(PRESSES):
                    await asyncio.sleep(0.05)  # time between keys, in which the app reloads too
                    started = time.perf_counter()
                    await _press(app, pilot, keys[n % len(keys)])
                    times.append(1000 * (time.perf_counter() - started))
                median, high = np.percentile(times, [50, 95])
                print(
                    f"{screen:<10} {PRESSES} keys: median {median:.1f} ms, p95 {high:.1f} ms, maximum {max(times):.0f} ms"
                )


async def _press(app: ConselfApp, pilot: Pilot[None], key: str) -> None:
    """Send a key, and wait until the app and every widget have handled it and the screen has been drawn."""
    sent, drawn = asyncio.Event(), asyncio.Event()
    app.post_message(events.Key(key, None))
    app.call_later(sent.set)
    await sent.wait()
    await pilot.pause(0)  # lets every widget handle what it was sent
    app.screen.call_after_refresh(drawn.set)
    await drawn.wait()


if __name__ == "__main__":
    main()
