"""What goes wrong outside the screens is shown on them with the next step, and nothing is lost; failures are real."""

from __future__ import annotations

import os
import pty
import select
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from textual.widgets import Input

from conself_local.home import Home
from conself_local.model_files.bundled import bundled_model
from conself_local.round import process as round_process
from tests.fakes.small_round import descendants
from tests.tui.conftest import REAL_ROUND, press, settle, text_of, toasts_of, wait_for
from tests.tui.states import rewind
from tui.app import ConselfApp
from tui.app_state import AppState

pytestmark = pytest.mark.screen

SIZE = (100, 30)
ROOT = Path(__file__).parents[2]


def _begin_round(app: ConselfApp, *arguments: str) -> None:
    """Start a round in its own process, and wait until it is in the store."""
    round_process.start(app.app_state.home, [*arguments, "--limit", "4", "--benchmark", "validation"])
    wait_for(lambda: app.app_state.latest_round())


async def test_a_damaged_store_is_reported_and_read_again_after_its_repair(app: ConselfApp, real_home: Home) -> None:
    whole = real_home.database.read_bytes()
    async with app.run_test(size=SIZE) as pilot:
        await press(pilot, "3")
        with app.app_state.reading() as store:
            store.db.execute("pragma wal_checkpoint(truncate)")
        real_home.database.write_bytes(whole[:4096] + os.urandom(len(whole) - 4096))
        await press(pilot, "4")
        assert "malformed" in text_of(app, "#message") and "-> " in text_of(app, "#message")
        real_home.database.write_bytes(whole)
        await press(pilot, "r")
        assert "0 left out" in str(app.screen.query_one("#list").border_title)


async def test_a_locked_store_is_waited_for_and_reported(app: ConselfApp, real_home: Home) -> None:
    async with app.run_test(size=SIZE) as pilot:
        await press(pilot, "8")
        with app.app_state.reading() as store:
            store.db.execute("pragma busy_timeout = 200")
        other = sqlite3.connect(real_home.database)
        other.execute("begin exclusive")
        await press(pilot, "n")
        app.screen.query_one(Input).value = "other"
        await press(pilot, "enter")
        assert "locked" in toasts_of(app)
        other.rollback()
        other.close()


@pytest.mark.timeout(300)
async def test_a_killed_round_is_reported_and_continues(empty_app: ConselfApp) -> None:
    home = empty_app.app_state.home
    async with empty_app.run_test(size=SIZE) as pilot:
        await press(pilot, "2")
        _begin_round(empty_app)
        pid = round_process.running(home)
        assert pid
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not round_process.running(home))
        await press(pilot, "r")
        assert "stopped" in str(empty_app.screen.query_one("#whole").border_title)
        assert "s continues" in text_of(empty_app, "#message")
        await press(pilot, "s")
        wait_for(lambda: round_process.running(home))
        await press(pilot, "x", "x")
        wait_for(lambda: not round_process.running(home))


async def test_why_a_round_could_not_begin_is_shown(empty_app: ConselfApp) -> None:
    home = empty_app.app_state.home
    async with empty_app.run_test(size=SIZE) as pilot:
        await settle(pilot)
        round_process.start(home, ["--problems", "/nowhere/problems.jsonl"])
        wait_for(lambda: round_process.failure(home))
        await press(pilot, "r")
        assert "there is no problems file at /nowhere" in text_of(empty_app, "#message")


@pytest.mark.timeout(300)
async def test_an_engine_that_dies_again_and_again_is_reported(empty_app: ConselfApp) -> None:
    home = empty_app.app_state.home
    async with empty_app.run_test(size=SIZE) as pilot:
        await press(pilot, "2")
        _begin_round(empty_app)

        def ended() -> bool:
            pid = round_process.running(home)
            for engine in descendants(pid, "engine_server") if pid else []:
                os.kill(engine, signal.SIGKILL)
            return pid is None

        wait_for(ended, seconds=200)
        await press(pilot, "r")
        said = text_of(empty_app, "#message")
        assert (
            ("the engine died twice" in said or "the engine did not start" in said)
            and "close other programs" in said
            and "press s to continue" in said
        )


@pytest.mark.timeout(300)
async def test_a_missing_model_file_is_reported_and_the_round_continues_when_it_is_back(
    empty_app: ConselfApp, tmp_path: Path
) -> None:
    home, model = empty_app.app_state.home, tmp_path / "coder.gguf"
    shutil.copy(bundled_model(), model)
    async with empty_app.run_test(size=SIZE) as pilot:
        await press(pilot, "2")
        _begin_round(empty_app, "--model", str(model))
        round_process.stop(home)
        wait_for(lambda: not round_process.running(home))
        model.rename(tmp_path / "elsewhere.gguf")
        await press(pilot, "s")
        wait_for(lambda: round_process.failure(home))
        await press(pilot, "r")
        assert "there is no model file at" in text_of(empty_app, "#message") and "press s to continue" in text_of(
            empty_app, "#message"
        )
        (tmp_path / "elsewhere.gguf").rename(model)
        await press(pilot, "s")
        wait_for(lambda: round_process.running(home))
        round_process.stop(home)
        wait_for(lambda: not round_process.running(home))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Yield a mounted disk of 4 MiB; skip the test if none can be mounted."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no disk can be mounted here: {mounted.stderr.strip()}")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


async def test_a_full_disk_is_reported_and_written_to_again_when_there_is_room(small_disk: Path) -> None:
    home = Home(small_disk / "home")
    shutil.copy(REAL_ROUND, home.database)
    with AppState(home) as app_state:
        with app_state.reading() as store:
            rewind(store, "judging")
        app = ConselfApp(app_state)
        async with app.run_test(size=SIZE) as pilot:
            await press(pilot, "8")
            with (small_disk / "fill").open("wb", buffering=0) as fill, pytest.raises(OSError, match="No space"):
                while True:
                    fill.write(bytes(4096))
            await press(pilot, "n")
            app.screen.query_one(Input).value = "my coder"
            await press(pilot, "enter")
            assert "full" in toasts_of(app) and "my coder" not in text_of(app)
            await press(pilot, "2", "s")
            assert "MiB are free on the disk" in toasts_of(app) and "make room" in toasts_of(app)
            (small_disk / "fill").unlink()
            await press(pilot, "8", "n")
            app.screen.query_one(Input).value = "my coder"
            await press(pilot, "enter")
            assert "my coder" in text_of(app)


async def test_a_round_that_cannot_be_started_is_reported(app: ConselfApp, tmp_path: Path) -> None:
    with app.app_state.reading() as store:
        rewind(store, "sampling")
    async with app.run_test(size=SIZE) as pilot:
        await press(pilot, "2")
        (tmp_path / "logs").write_text("a file in the place of the folder")
        await press(pilot, "s")
        assert "✗ " in toasts_of(app) and "logs" in toasts_of(app)
        await settle(pilot)


class Terminal:
    """`python -m tui` in a pseudo-terminal."""

    def __init__(self, home: Path) -> None:
        self.pid, self._terminal = pty.fork()
        if self.pid == 0:
            os.environ["TERM"] = "xterm-256color"
            os.execv(sys.executable, [sys.executable, "-m", "tui", "--home", str(home)])
        self.written = b""

    def read_until(self, wanted: bytes, seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while wanted not in self.written:
            assert time.monotonic() < deadline, self.written[-500:]
            if select.select([self._terminal], [], [], 0.2)[0]:
                self.written += os.read(self._terminal, 65536)

    def close(self) -> None:
        os.close(self._terminal)


def _wait_for_end(pid: int) -> int:
    statuses: list[int] = []

    def ended() -> bool:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            statuses.append(status)
        return bool(found)

    wait_for(ended)
    return statuses[0]


def test_the_terminal_is_restored_when_the_program_is_asked_to_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    terminal = Terminal(tmp_path)
    terminal.read_until(b"SmolLM2")
    assert b"\x1b[?1049h" in terminal.written, "the screens use the alternate screen of the terminal"
    os.kill(terminal.pid, signal.SIGTERM)
    terminal.read_until(b"\x1b[?1049l")
    assert os.waitstatus_to_exitcode(_wait_for_end(terminal.pid)) == 0 and b"Traceback" not in terminal.written
    terminal.close()


@pytest.mark.timeout(300)
def test_a_lost_terminal_ends_the_screens_but_not_the_round(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    home = Home(tmp_path)
    round_process.start(home, ["--limit", "4", "--benchmark", "validation"])
    wait_for(lambda: round_process.running(home))
    try:
        terminal = Terminal(tmp_path)
        terminal.read_until(b"Round")
        terminal.close()
        _wait_for_end(terminal.pid)
        assert round_process.running(home)
    finally:
        round_process.stop(home)
        wait_for(lambda: not round_process.running(home))


@pytest.mark.timeout(300)
def test_a_round_can_be_stopped_if_ctrl_c_is_ignored(tmp_path: Path) -> None:
    """A shell starts its background commands with Ctrl-C ignored."""
    home = Home(tmp_path)
    known = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        round_process.start(home, ["--limit", "40", "--benchmark", "validation"])
    finally:
        signal.signal(signal.SIGINT, known)
    wait_for(lambda: round_process.running(home))
    round_process.stop(home)
    wait_for(lambda: not round_process.running(home), seconds=20)
    # the message is written after the lock of the home is released
    wait_for(
        lambda: any(line.startswith("stopped; everything stored is kept") for line in round_process.tail_log(home)),
        seconds=20,
    )
