"""A whole round on OpenVINO ends with a report after its engine and then the round itself were killed."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from conself_local.round.engine import ENGINE
from conself_local.store.store import Store
from tests.fakes.openvino import needs_openvino
from tests.fakes.small_round import TRAIN, command, count_rows, kill_when, run_arguments, run_conself, write_problems

pytestmark = [pytest.mark.slow, needs_openvino, pytest.mark.timeout(1500)]
SAMPLES = len(TRAIN) * 15


def test_a_round_on_openvino_is_killed_continued_and_evaluated(tmp_path: Path) -> None:
    home, problems = tmp_path / "home", write_problems(tmp_path / "small.jsonl")
    arguments = [*run_arguments(problems, slots=4), "--seed", "1"]
    process = subprocess.Popen(
        command(home, *arguments, "--engine", "openvino"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    samples = "select count(*) from samples"
    assert 0 < kill_when(process, home, samples, 5, "engine_server openvino") < SAMPLES
    assert 0 < kill_when(process, home, samples, 15, None) < SAMPLES
    process.communicate(timeout=60)
    refused = run_conself(home, *arguments, "--engine", "llama.cpp")
    assert refused.returncode == 2 and "is sampled by the engine openvino" in refused.stderr
    done = run_conself(home, *arguments)
    assert done.returncode == 0, done.stderr
    assert "in OpenVINO GenAI" in done.stdout and "verdict" in done.stdout
    assert count_rows(home, samples) == SAMPLES
    asked = "select count(*) from (select 1 from samples group by problem_id, observation, number)"
    assert count_rows(home, asked) == SAMPLES
    with Store(home / "conself.db") as store:
        round_ = store.latest_round()
        assert round_ is not None and round_.state == "done"
        assert store.stage_summary(round_.id, ENGINE) == "openvino"
        arms = {row["arm"] for row in store.rows("select distinct arm from evaluation_samples")}
        assert arms == {"base", "adapter"}
    checked = run_conself(home, "verify")
    assert (checked.returncode, checked.stdout.strip()) == (0, "nothing differs"), checked.stderr
