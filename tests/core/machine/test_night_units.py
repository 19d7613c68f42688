"""The files of a schedule name the same paths that they were given, and systemd accepts them."""

from __future__ import annotations

import configparser
import dataclasses
import os
import plistlib
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conself_local.errors import ConselfError
from conself_local.machine import night_units
from conself_local.machine.night_units import Night, install, launchd_text, parse_time, remove, systemd_word, unit_files

AWKWARD = "a b%h%%$HOME'\"\\n;|&`x`é"
NIGHT = Night("01:30", 5, ("/usr/bin/python3", "-P", "--home", f"/home/{AWKWARD}"), {"CONSELF_CACHE": f"/c/{AWKWARD}"})


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of the units, and let the system's own commands be missing."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "my config"))
    monkeypatch.setattr(sys, "platform", "linux")
    return tmp_path / "my config" / "systemd" / "user"


def _read_word(text: str) -> tuple[str, str]:
    """Return the first quoted word of a line as systemd reads it, and the rest. Source: systemd.syntax(7)."""
    assert text.startswith('"')
    word, at = "", 1
    while text[at] != '"':
        if text[at] == "\\":
            assert text[at + 1] in '\\"', "only these two escapes are written"
            at += 1
        elif text[at] == "%":
            assert text[at + 1] == "%", "a specifier would be replaced"
            at += 1
        word += text[at]
        at += 1
    return word, text[at + 1 :].lstrip()


def _words(line: str) -> list[str]:
    found = []
    while line:
        word, line = _read_word(line)
        found.append(word)
    return found


def _section(text: str, name: str) -> dict[str, str]:
    parser = configparser.RawConfigParser(strict=True)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(text)
    return dict(parser[name])


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"])))
def test_a_word_is_read_back_as_it_was_written(word: str) -> None:
    assert _words(systemd_word(word)) == [word]


def test_the_service_starts_exactly_the_command(config: Path) -> None:
    service, timer = unit_files(NIGHT).items()
    section = _section(service[1], "Service")
    assert _words(section["ExecStart"]) == [f":{NIGHT.command[0]}", *NIGHT.command[1:]]
    assert _words(section["Environment"]) == [f"CONSELF_CACHE=/c/{AWKWARD}"]
    assert int(section["RuntimeMaxSec"]) > 5 * 3600 and section["KillMode"] == "mixed"
    assert _section(timer[1], "Timer")["OnCalendar"] == "*-*-* 01:30:00"
    assert (service[0].parent, service[0].suffix, timer[0].suffix) == (config, ".service", ".timer")


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not installed")
def test_systemd_accepts_the_files(config: Path, tmp_path: Path) -> None:
    program = tmp_path / "a b%h$HOME" / "python"
    program.parent.mkdir()
    program.symlink_to(sys.executable)
    files = unit_files(dataclasses.replace(NIGHT, command=(str(program), *NIGHT.command[1:])))
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    command = ["systemd-analyze", "--user", "verify", *map(str, files)]
    environment = os.environ | {"XDG_RUNTIME_DIR": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0 and "conself" not in done.stderr, done.stderr
    program.unlink()
    broken = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert "is not executable" in broken.stderr, "the control: systemd looks for this very path"


def test_the_launchd_agent_is_a_property_list_of_the_same_command() -> None:
    content = plistlib.loads(launchd_text(NIGHT).encode())
    assert content["ProgramArguments"] == list(NIGHT.command) and content["EnvironmentVariables"] == NIGHT.environment
    assert content["StartCalendarInterval"] == {"Hour": 1, "Minute": 30}


@pytest.mark.parametrize("path", ["/a\nExecStart=/bin/sh", "/a\x00", "/a\x7f", "/a\udc80"])
def test_a_path_that_could_add_a_line_is_refused(path: str, config: Path) -> None:
    with pytest.raises(ConselfError, match="no timer can hold"):
        unit_files(dataclasses.replace(NIGHT, command=("/usr/bin/python3", path)))
    assert not config.exists()


@pytest.mark.parametrize("text", ["1:00", "24:00", "01:60", "01:00\n", "１２:00", "01:00; rm"])
def test_only_a_time_of_day_is_a_time(text: str) -> None:
    with pytest.raises(ConselfError, match="no time of day"):
        parse_time(text)
    assert parse_time("00:59") == "00:59"


def _systemctl(folder: Path, monkeypatch: pytest.MonkeyPatch, status: int) -> Path:
    """Put a program named systemctl into the path that writes down what it was asked."""
    folder.mkdir()
    log, program = folder / "asked", folder / "systemctl"
    program.write_text(f"#!/bin/sh\necho \"$@\" >> '{log}'\necho 'no bus' >&2\nexit {status}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return log


def test_a_schedule_is_started_and_removed(config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = _systemctl(tmp_path / "bin", monkeypatch, 0)
    install(unit_files(NIGHT))
    install(unit_files(dataclasses.replace(NIGHT, time="02:00")))
    asked = log.read_text().splitlines()
    assert asked[:3] == [
        "--user daemon-reload", "--user enable conself-nightly.timer", "--user restart conself-nightly.timer"
    ]  # fmt: skip
    assert "02:00" in (config / "conself-nightly.timer").read_text() and night_units.installed_file()
    wants = config / "timers.target.wants"
    wants.mkdir()
    (wants / "conself-nightly.timer").symlink_to(config / "conself-nightly.timer")
    assert remove() and not remove() and night_units.installed_file() is None
    assert "--user disable --now conself-nightly.timer" in log.read_text() and not list(wants.iterdir())


def test_without_a_running_systemd_the_user_learns_what_to_do(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _systemctl(tmp_path / "bin", monkeypatch, 1)
    with pytest.raises(ConselfError, match="systemctl failed: no bus") as raised:
        install(unit_files(NIGHT))
    assert "systemctl --user" in raised.value.hint and night_units.installed_file()
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConselfError, match="systemctl cannot be run"):
        install(unit_files(NIGHT))
    assert remove(), "a schedule can be removed without systemd too"
