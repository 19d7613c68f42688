"""A thousand samples, with the engine killed twenty times on the way, lose nothing and double nothing."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

from conself_local.store.store import Store
from tests.fakes.small_round import command, descendants

KILLS = 20
PROBLEMS, SAMPLES_PER_PROBLEM = 67, 15


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_thousand_samples_and_twenty_kills(tmp_path: Path) -> None:
    chance, kills, starts = random.Random(4), 0, 0
    next_kill = time.monotonic() + chance.uniform(2, 9)
    code = -1
    while code != 0:
        starts += 1
        assert starts <= KILLS + 1, "every start that fails was killed"
        arguments = () if starts > 1 else ("--limit", str(PROBLEMS), "--seed", "3")
        with subprocess.Popen(
            command(tmp_path, "execute", *arguments), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            while process.poll() is None:
                time.sleep(0.05)
                if (
                    kills < KILLS
                    and time.monotonic() > next_kill
                    and (engines := descendants(process.pid, "engine_server"))
                ):
                    os.kill(chance.choice(engines), signal.SIGKILL)
                    kills += 1
                    next_kill = time.monotonic() + chance.uniform(2, 9)
            code = process.returncode
    assert kills == KILLS, "the run was long enough for every kill"
    with Store(tmp_path / "conself.db") as store:
        assert store.value("select count(*) from samples") == PROBLEMS * SAMPLES_PER_PROBLEM
        assert (
            store.value("select count(distinct problem_id || '/' || observation || '/' || number) from samples")
            == PROBLEMS * SAMPLES_PER_PROBLEM
        )
        assert store.value("select count(*) from samples where finish = 'too-long'") == 0
        lost = "select count(*) from samples where program_id is not null and program_id not in (select program_id from executions)"
        assert store.value(lost) == 0
        assert store.value("select count(*) from executions") == store.value(
            "select count(distinct program_id) from samples"
        )
    print(f"{kills} kills, {starts} starts")
