"""Logs stay small and few, hold no long text, follow no links, and never end what they are about."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from conself_local.machine import log_files
from conself_local.machine.log_files import LogFile, create_log, is_log, list_logs, trim_log


def test_five_logs_of_each_name_are_kept_and_numbers_go_on(tmp_path: Path) -> None:
    for _ in range(7):
        os.close(create_log(tmp_path / "logs", "engine"))
    os.close(create_log(tmp_path / "logs", "round"))
    assert [path.name for path in list_logs(tmp_path / "logs", "engine")] == [f"engine-{n}.log" for n in range(3, 8)]
    assert [path.name for path in list_logs(tmp_path / "logs", "round")] == ["round-1.log"]


def test_logs_are_private_and_a_link_in_their_place_is_not_followed(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.write_text("precious")
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "engine-1.log").symlink_to(mine)
    log = LogFile(tmp_path / "logs", "engine")
    log.write_line("hello")
    assert (tmp_path / "logs" / "engine-2.log").stat().st_mode & 0o777 == 0o600 and mine.read_text() == "precious"
    assert [path.name for path in list_logs(tmp_path / "logs", "engine")] == ["engine-2.log"]


def test_a_log_that_grows_keeps_its_newer_half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_files, "MAX_LOG_BYTES", 2000)
    log = LogFile(tmp_path, "engine")
    for number in range(1000):
        log.write_line(f"line {number}")
    lines = (tmp_path / "engine-1.log").read_text().splitlines()
    assert (tmp_path / "engine-1.log").stat().st_size <= 2020
    assert lines[0] == "... older lines were removed" and lines[-1] == "line 999"
    assert lines[1:] == [f"line {n}" for n in range(1001 - len(lines), 1000)], "whole lines, without a gap"


def test_two_processes_append_to_one_log_while_it_is_trimmed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The output of a round comes through a descriptor that another process opened."""
    monkeypatch.setattr(log_files, "MAX_LOG_BYTES", 1000)
    first = create_log(tmp_path, "round")
    second = os.dup(first)
    os.write(first, b"old\n" * 500)
    trim_log(second)
    os.write(first, b"new\n")
    content = (tmp_path / "round-1.log").read_bytes()
    assert content.endswith(b"old\nnew\n") and b"\0" not in content and len(content) < 600
    os.close(first)
    os.close(second)


def test_no_prompt_fits_into_a_line_and_nothing_is_raw(tmp_path: Path) -> None:
    log = LogFile(tmp_path, "engine")
    log.write_line("\x1b[2J" + "p" * 5000 + "secret end")
    text = (tmp_path / "engine-1.log").read_text()
    assert text.startswith("\\x1b[2J") and "secret" not in text and "5017 characters" in text and len(text) < 450


def test_a_log_that_cannot_be_written_harms_nothing(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("a file in the place of the folder")
    LogFile(tmp_path / "logs", "engine").write_line("hello")
    assert (tmp_path / "logs").read_text() == "a file in the place of the folder"
    assert list_logs(tmp_path / "logs", "engine") == []


def test_only_our_own_log_is_recognised(tmp_path: Path) -> None:
    """What `conself run 2> my.log` writes to belongs to the user, and is never shortened."""
    descriptor = create_log(tmp_path / "logs", "round")
    other = os.open(tmp_path / "my.log", os.O_RDWR | os.O_CREAT)
    assert is_log(tmp_path / "logs", "round", descriptor) and not is_log(tmp_path / "logs", "round", other)
    os.close(descriptor)
    os.close(other)
