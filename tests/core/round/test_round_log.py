"""A round leaves a log whether it ran in a terminal or behind the screens, and the log says why it ended early."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from conself_local.errors import ConselfError
from conself_local.events import Event, ItemStored, Notice, NoticeKind, StageDone
from conself_local.home import Home
from conself_local.machine.log_files import create_log, list_logs
from conself_local.round import process as round_process
from conself_local.round.log import RoundLog


def test_a_round_in_a_terminal_is_logged_with_its_stages_and_notices(tmp_path: Path) -> None:
    home, passed = Home(tmp_path), list[Event]()
    with RoundLog(home, "round 1 on a model", passed.append) as log:
        log.on_event(ItemStored("sample", 1, 2, "a problem"))
        log.on_event(StageDone("sample", "2 samples"))
        log.on_event(Notice("hot", NoticeKind.HEAT))
    (path,) = list_logs(home.logs, "round")
    lines = path.read_text().splitlines()
    assert "round 1 on a model" in lines[0] and lines[1].endswith("sample: 2 samples")
    assert lines[2].endswith("warning (heat): hot") and len(lines) == 3 and len(passed) == 3
    assert round_process.failure(home) == ""


def test_the_screens_say_why_a_round_in_a_terminal_ended_early(tmp_path: Path) -> None:
    home = Home(tmp_path)
    with pytest.raises(ConselfError), RoundLog(home, "round 1", lambda event: None):
        raise ConselfError("the memory is too small", "close other programs")
    assert round_process.failure(home) == "conself: the memory is too small -> close other programs"


def test_an_error_that_nobody_foresaw_is_logged_without_its_text(tmp_path: Path) -> None:
    """The text can quote what was worked on; `conself.log` says where it happened."""
    home = Home(tmp_path)
    with pytest.raises(KeyError), RoundLog(home, "round 1", lambda event: None):
        raise KeyError("def secret_program(): pass")
    text = list_logs(home.logs, "round")[0].read_text()
    assert "KeyError" in text and "secret_program" not in text


def test_the_output_of_a_round_behind_the_screens_is_its_log_and_stays_small(tmp_path: Path) -> None:
    home = Home(tmp_path)
    code = """
import sys
from pathlib import Path
from conself_local.events import StageDone
from conself_local.home import Home
from conself_local.machine import log_files
from conself_local.round.log import RoundLog
log_files.MAX_LOG_BYTES = 5000
with RoundLog(Home(Path(sys.argv[1])), "round 1", lambda event: None) as log:
    for number in range(1000):
        print("line", number, file=sys.stderr, flush=True)
        log.on_event(StageDone("sample", "done"))
print("conself: last words", file=sys.stderr)
"""

    descriptor = create_log(home.logs, "round")
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], stderr=descriptor, check=True)
    os.close(descriptor)
    (path,) = list_logs(home.logs, "round")
    assert path.stat().st_size < 6000 and path.read_text().startswith("... older lines were removed\n")
    assert round_process.tail_log(home)[-2:] == ["line 999", "conself: last words"]


def test_the_log_of_an_earlier_version_makes_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = Home(tmp_path)
    (tmp_path / "conductor.log").write_text("conself: an old failure")
    monkeypatch.setattr(round_process, "child_environment", dict)
    monkeypatch.setattr(sys, "executable", "/bin/echo")
    round_process.start(home, ["--limit", "3"])
    assert not (tmp_path / "conductor.log").exists() and [p.name for p in list_logs(home.logs, "round")] == [
        "round-1.log"
    ]
