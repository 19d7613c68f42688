"""SIGKILL to any process of a round, in the middle of its stage, loses nothing and doubles nothing.

The processes are the engine, the sandbox, the trainer and the round process. With one slot, the content equals that of an
undisturbed round. `conself verify` must then find one changed value in every table that it covers.
"""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from conself_local.stages.execute import OverlappedExecution
from conself_local.store.store import Store
from sandbox import Limits, Sandbox
from tests.fakes.small_round import (
    TRAIN,
    command,
    count_rows,
    dump,
    kill_when,
    run_arguments,
    run_conself,
    write_problems,
)

SAMPLES = len(TRAIN) * 15
pytestmark = [pytest.mark.round, pytest.mark.timeout(1500)]  # the first test of each fixture waits for whole rounds
TABLES = (
    "observations",
    "samples",
    "programs",
    "behaviours",
    "executions",
    "metrics",
    "sample_scores",
    "pairs",
    "training_steps",
    "adapters",
    "evaluation_samples",
    "evaluations",
)


def _start(home: Path, problems: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command(home, *run_arguments(problems)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.fixture(scope="module")
def problems(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a problems file for a small round."""
    return write_problems(tmp_path_factory.mktemp("problems") / "small.jsonl")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, problems: Path) -> Path:
    """Return the home of a whole round."""
    home = tmp_path_factory.mktemp("undisturbed")
    done = run_conself(home, *run_arguments(problems))
    assert done.returncode == 0, done.stderr
    assert "verdict" in done.stdout
    return home


@pytest.fixture(scope="module")
def disturbed(tmp_path_factory: pytest.TempPathFactory, problems: Path) -> Iterator[Path]:
    """Yield the home of the same round after a kill of every process in turn."""
    home = tmp_path_factory.mktemp("disturbed")
    samples = "select count(*) from samples"
    process = _start(home, problems)
    done = kill_when(process, home, samples, 7, "engine_server")  # the engine; the same run continues
    assert 0 < done < SAMPLES
    done = kill_when(process, home, samples, 25, None)  # the round process
    assert 0 < done < SAMPLES
    process.communicate(timeout=60)
    time.sleep(1)
    assert not [p for p in Path("/proc").iterdir() if p.name.isdigit() and _runs_engine_of(p, home)], (
        "the engine outlived the round process"
    )
    process = _start(home, problems)
    done = kill_when(
        process, home, "select count(*) from executions", 5, "child/server.py"
    )  # the sandbox; the run continues
    assert 0 < done < count_rows(home, "select count(distinct program_id) from samples")
    steps = "select count(*) from training_steps"
    done = kill_when(process, home, steps, 1, "conself_local.training.trainer")
    assert 0 < done < count_rows(home, "select max(steps) from training_steps")
    _, said = process.communicate(timeout=120)
    assert process.returncode == 2 and "continues from its last checkpoint" in said and "Traceback" not in said
    last = run_conself(home, *run_arguments(problems))
    assert last.returncode == 0, last.stderr
    yield home


def _runs_engine_of(process: Path, home: Path) -> bool:
    try:
        environment = (process / "cmdline").read_text()
    except OSError:
        return False
    return "engine_server" in environment and str(home) in environment


def test_every_problem_has_exactly_the_samples_asked_for(disturbed: Path) -> None:
    assert count_rows(disturbed, "select count(*) from samples") == SAMPLES
    assert (
        count_rows(disturbed, "select count(*) from (select 1 from samples group by problem_id, observation, number)")
        == SAMPLES
    )


def test_the_content_equals_that_of_an_undisturbed_round(disturbed: Path, undisturbed: Path) -> None:
    left, right = dump(disturbed, TABLES), dump(undisturbed, TABLES)
    for table in TABLES:
        assert left[table], f"{table} is not empty"
        assert left[table] == right[table], f"{table} differs from the undisturbed round"


def test_verify_finds_nothing_wrong_after_the_kills(disturbed: Path) -> None:
    done = run_conself(disturbed, "verify")
    assert (done.returncode, done.stdout.strip()) == (0, "nothing differs"), done.stderr


def _without_executions(home: Path, copy: Path) -> Path:
    shutil.copytree(home, copy)
    with sqlite3.connect(copy / "conself.db") as connection:
        connection.execute("delete from executions")
        connection.execute("delete from behaviours")
    return copy


def test_programs_run_during_sampling_behave_as_in_their_own_stage(
    undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = _without_executions(undisturbed, tmp_path / "home")
    monkeypatch.setattr(OverlappedExecution, "BATCH", 2)
    shared: list[bool] = []
    with Store(home / "conself.db") as store:
        round_ = store.latest_round()
        assert round_ is not None
        with OverlappedExecution(store, round_, lambda limits: Sandbox(limits, workers=1), shared.append) as overlapped:
            overlapped.poll()
            assert shared == [], "one sample is no batch yet"
            overlapped.poll()
        assert shared == [True, False], "the cores are given back when the batch is done"
        assert store.value("select count(*) from executions") == store.value(
            "select count(distinct program_id) from samples"
        )
    ran, right = (dump(h, ("executions",))["executions"] for h in (home, undisturbed))
    assert ran and all(row in right for row in ran)


def test_execution_during_sampling_ends_with_it(
    undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = _without_executions(undisturbed, tmp_path / "home")
    monkeypatch.setattr(OverlappedExecution, "BATCH", 1)
    before = threading.active_count()
    boxes: list[Sandbox] = []

    def make(limits: Limits) -> Sandbox:
        boxes.append(Sandbox(limits, workers=1))
        return boxes[0]

    with Store(home / "conself.db") as store:
        round_ = store.latest_round()
        assert round_ is not None
        with pytest.raises(RuntimeError), OverlappedExecution(store, round_, make, lambda shared: None) as overlapped:
            overlapped.poll()
            raise RuntimeError
    assert threading.active_count() == before and boxes[0].server_pids == []


CHANGES = {
    "problems": "update problems set statement = statement || '!' where id = 'starter/square'",
    "programs": "update programs set code = code || '#' where rowid = 1",
    "prompts": "update prompts set text = text || ' ' where rowid = 1",
    "behaviours": """update behaviours set outputs = replace(outputs, '"ok"', '"error"') where rowid =
                     (select min(rowid) from behaviours where outputs like '%"ok"%')""",
    "executions": "update executions set load_status = 'timeout' where rowid = 1",
    "samples": "update samples set text = '```' where rowid = 3",
    "metrics": "update metrics set entropy_bits = entropy_bits + 0.25 where rowid = 1",
    "sample_scores": "update sample_scores set consensus = 0.123 where rowid = 2",
    "pairs": "update pairs set weight = weight / 2 where rowid = 1",
    "training_steps": "delete from training_steps where step = 1",
    "adapters": "update adapters set sha256 = 'x' where id = 1",
    "evaluation_samples": "update evaluation_samples set correct = 1 - correct where rowid = 2",
    "evaluations": "update evaluations set result = replace(result, 'verdict', 'Verdict') where rowid = 1",
}


@pytest.mark.parametrize("table", CHANGES)
def test_verify_names_a_value_changed_by_hand(table: str, undisturbed: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    shutil.copytree(undisturbed, home)
    with sqlite3.connect(home / "conself.db") as connection:
        assert connection.execute(CHANGES[table]).rowcount == 1
    done = run_conself(home, "verify")
    assert done.returncode == 1
    assert f"{table}: " in done.stdout, done.stdout + done.stderr
