"""Foreign text reaches no terminal raw: not from problems, models or stores, and not in an encoding that lacks it."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conself_local.foreign_text import encodable, shown
from tests.fakes.small_round import command

ROOT = Path(__file__).parents[2]
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("plain text, äöü, 漢字", "plain text, äöü, 漢字"),
        ("a\nb\tc", "a\nb\tc"),
        ("a\x1b[2J", "a\\x1b[2J"),
        ("\x1b]52;c;ZXZpbA==\x07", "\\x1b]52;c;ZXZpbA==\\x07"),
        ("verdict: worse\rverdict: better", "verdict: worse\\x0dverdict: better"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("\x9b31m", "\\x9b31m"),
        ("\udc80", "\\udc80"),
        ("\U000e0041", "\\U000e0041"),
        ("no\u00a0break", "no\u00a0break"),
    ],
)
def test_what_is_not_printable_is_shown_as_its_escape(text: str, result: str) -> None:
    assert shown(text) == result


def test_without_lines_a_line_feed_is_an_escape_too() -> None:
    assert shown("a\nb\tc", lines=False) == "a\\x0ab\\x09c"


@given(st.text())
def test_nothing_that_is_shown_controls_a_terminal(text: str) -> None:
    assert not CONTROL.search(shown(text))
    assert shown(shown(text)) == shown(text)
    encodable(shown(text), "latin-1").encode("latin-1")


def test_no_command_prints_past_the_one_way() -> None:
    """`click.echo` and `print` are called in one module of the command line only."""
    for path in sorted((ROOT / "conself_local" / "cli").glob("*.py")):
        calls = re.findall(r"\bclick\.echo\(|(?<![\w.])print\(", path.read_text(encoding="utf-8"))
        assert (path.name == "output.py") == bool(calls), path


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_a_hostile_problem_is_listed_without_a_control_character(encoding: str, tmp_path: Path) -> None:
    problem = {
        "id": "evil", "split": "train", "kind": "stdin", "inputs": ["1"],
        "statement": "\x1b]52;c;ZXZpbA==\x07 \x1b[2J\rverdict: better 漢字 \u202e",
    }  # fmt: skip
    path = tmp_path / "evil.jsonl"
    path.write_text(json.dumps(problem) + "\n")
    done = subprocess.run(
        command(tmp_path / "home", "problems", "list", str(path)),
        capture_output=True, check=False, env={"PYTHONIOENCODING": encoding, "PATH": "/usr/bin:/bin"}, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    text = io.TextIOWrapper(io.BytesIO(done.stdout), encoding).read()
    assert "evil" in text and not CONTROL.search(text.replace("\n", "")), text


def test_an_error_about_a_hostile_path_is_shown_escaped(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "conself_local", "problems", "list", str(tmp_path / "\x1b[2Jx.jsonl")],
        capture_output=True, text=True, check=False, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 2 and "\\x1b[2Jx.jsonl" in done.stderr and "\x1b" not in done.stderr
