"""A night continues or begins one round, ends in time with everything kept, and says in the morning what came of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner

from conself_local.cli.main import main
from conself_local.errors import ConselfError
from conself_local.home import Home
from conself_local.machine.log_files import create_log
from conself_local.round.night import NightPlan, run_night
from conself_local.round.process import ROUND_LOG
from conself_local.settings import LAPTOP
from conself_local.store.nights import begin_night, last_night
from conself_local.store.store import Store

PLAN = NightPlan(5, ("--with-mine",), ("--accept-weaker-sandbox=seccomp",))
WAITS = """
import signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit(130))
print("ready", flush=True)
signal.pause()
"""


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """Return an empty home."""
    return Home(tmp_path / "home")


@pytest.fixture
def store(home: Home) -> Iterator[Store]:
    """Yield the store of the home."""
    with Store(home.database) as opened:
        yield opened


class _Start:
    """Starts a small process in the place of a round, after `begin` has changed the store, and keeps what was asked."""

    def __init__(self, code: str, begin: Callable[[], object] = lambda: None) -> None:
        self._code, self._begin = code, begin
        self.asked: list[tuple[list[str], Sequence[str]]] = []
        self.process: subprocess.Popen[bytes] | None = None

    def __call__(self, home: Home, arguments: list[str], options: Sequence[str]) -> int:
        self.asked.append((arguments, options))
        self._begin()
        self.process = subprocess.Popen([sys.executable, "-c", self._code], stdout=subprocess.PIPE)
        assert self.process.stdout
        self.process.stdout.readline()
        return self.process.pid


def _round(store: Store, state: str = "running", seed: int = 3) -> int:
    round_id = store.start_round(
        seed=seed, settings=LAPTOP, model_path=Path("/m"), model_sha256="0", template_hash="0", base_adapter_id=None,
        versions={}, request={"problems": None}, problems=[],
    ).id  # fmt: skip
    store.db.table("rounds").update(round_id, {"state": state})
    return round_id


def test_a_round_that_ends_is_the_result_of_the_night(home: Home, store: Store) -> None:
    def whole_round() -> None:
        store.finish_stage(_round(store, "done"), "decide", "accepted: +2.0 points")

    start = _Start("", whole_round)
    assert run_night(store, home, PLAN, start=start) == "round 1 accepted: +2.0 points"
    assert start.asked == [(["--with-mine"], PLAN.options)]
    night = last_night(store)
    assert night and night.round_id == 1 and night.ended_at_utc
    assert "round 1 accepted: +2.0 points" in night.sentence(is_running=False)


def test_an_unfinished_round_is_continued_as_it_was_started(home: Home, store: Store) -> None:
    _round(store, "done", seed=3)
    start = _Start("")
    run_night(store, home, PLAN, start=start)
    _round(store, "running", seed=4)
    run_night(store, home, PLAN, start=start)
    assert [arguments for arguments, _ in start.asked] == [["--with-mine"], []]


def test_a_round_is_stopped_after_its_hours_and_goes_on_the_next_night(home: Home, store: Store) -> None:
    start = _Start(WAITS, lambda: _round(store))
    summary = run_night(store, home, NightPlan(0.0001, ()), start=start, look_s=0.05)
    assert summary == "round 1 was stopped after 0.0001 hours; everything is kept, and the next night continues it"
    assert store.round(1).state == "running"
    assert start.process and start.process.poll() is not None, "the process has ended"


def test_a_round_is_stopped_when_the_mains_power_ends(home: Home, store: Store) -> None:
    power = iter([True, True, False])
    start = _Start(WAITS, lambda: _round(store))
    summary = run_night(store, home, PLAN, start=start, is_on_mains=lambda: next(power), look_s=0.05)
    assert "was stopped, because the mains power ended" in summary and start.process
    assert start.process.poll() is not None


def test_nothing_is_run_on_battery_or_beside_another_round(home: Home, store: Store) -> None:
    start = _Start("")
    assert "on battery" in run_night(store, home, PLAN, start=start, is_on_mains=lambda: False)
    with home.lock():
        assert "a round was running already" in run_night(store, home, PLAN, start=start)
    assert not start.asked


def test_a_round_that_fails_says_why(home: Home, store: Store) -> None:
    def fail() -> None:
        _round(store)
        with os.fdopen(create_log(home.logs, ROUND_LOG), "w") as log:
            log.write("conself: the model is gone\n  -> fetch it\n")

    summary = run_night(store, home, PLAN, start=_Start("", fail))
    assert summary == "round 1 ended early: conself: the model is gone -> fetch it"


def test_a_night_that_cannot_begin_is_stored_too(home: Home, store: Store) -> None:
    def refuse(home: Home, arguments: list[str], options: Sequence[str]) -> int:
        raise ConselfError("the disk is full")

    with pytest.raises(ConselfError):
        run_night(store, home, PLAN, start=refuse)
    night = last_night(store)
    assert night and night.summary == "the disk is full" and night.ended_at_utc


def test_status_shows_the_night_also_before_there_is_a_round(home: Home, store: Store) -> None:
    def status(*arguments: str) -> str:
        return CliRunner().invoke(main, ["--home", str(home.path), "status", *arguments]).output

    run_night(store, home, PLAN, is_on_mains=lambda: False)
    assert "the computer was on battery" in status()
    _round(store, "done")
    assert status().startswith("the night of ")
    assert json.loads(status("--json"))["night"]["summary"] == "the computer was on battery, so nothing was run"
    begin_night(store)
    assert "was cut off" in status()
    with home.lock():
        assert "is running now" in status()


def test_the_schedule_is_printed_without_writing_anything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setattr(sys, "platform", "linux")

    def schedule(*arguments: str) -> tuple[int, str]:
        done = CliRunner().invoke(main, ["--home", str(tmp_path / "my 5% home"), "schedule", *arguments])
        return done.exit_code, done.output

    code, text = schedule("--nightly", "01:00", "--hours", "2.5", "--problems", "mine", "--print")
    assert code == 0 and 'my 5%% home"' in text and '"--hours" "2.5" "--problems" "mine"' in text
    assert list(tmp_path.iterdir()) == []
    assert "nothing is scheduled" in schedule()[1] and "nothing was scheduled" in schedule("--off")[1]
    assert schedule("--nightly", "25:00")[0] == 2 and schedule("--nightly", "01:00", "--problems", "/no")[0] == 2
