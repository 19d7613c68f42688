"""`conself problems mine` lists, shows, edits and leaves out; `conself forget` deletes and names adapters."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from conself_local.cli.main import main
from conself_local.problems.problem import Problem
from conself_local.store.kept_questions import AnsweredQuestion, Votes, keep_question, load_question
from conself_local.store.store import Store

PROBLEM = Problem(
    "mine", "Count the birds of a garden \x1b[2J.\nBy f.", "function", ((1,), (2,)), "train", "f", "def f(n):"
)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Return a home with one question."""
    with Store(tmp_path / "conself.db") as store:
        keep_question(store, AnsweredQuestion("How many birds?", PROBLEM, Votes("confirmed", 11, 16, (11, 3, 2))))
    return tmp_path


def _conself(home: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["--home", str(home), *arguments])


def _edit(home: Path, monkeypatch: pytest.MonkeyPatch, old: str, new: str) -> Result:
    """Edit with a program that replaces a text, whose path has a space and a percent sign."""
    editor = home / "my %editor.py"
    editor.write_text(
        "import pathlib, sys\npath = pathlib.Path(sys.argv[-1])\n"
        f"path.write_text(path.read_text().replace({old!r}, {new!r}))\n"
    )
    monkeypatch.delenv("VISUAL", raising=False)
    monkeypatch.setenv("EDITOR", f"'{sys.executable}' '{editor}'")
    return _conself(home, "problems", "mine", "--edit", "1")


def test_a_line_has_number_inputs_votes_date_and_the_first_line(home: Path) -> None:
    (line,) = _conself(home, "problems", "mine").stdout.splitlines()
    for part in ("1", "2 inputs", "11 of 16 agree", "Count the birds of a garden"):
        assert part in line
    assert "\x1b" not in line and "By f" not in line
    (values,) = json.loads(_conself(home, "problems", "mine", "--json").stdout)
    assert values["votes"]["groups"] == [11, 3, 2] and values["excluded"] == ""


def test_a_question_is_shown_whole_left_out_and_taken_again(home: Path) -> None:
    shown = _conself(home, "problems", "mine", "--show", "1").stdout
    assert "How many birds?" in shown and "11, 3, 2" in shown and "[[problem]]" in shown and "\x1b" not in shown
    assert "[left out by you]" in _conself(home, "problems", "mine", "--leave-out", "1").stdout
    assert "left out" not in _conself(home, "problems", "mine", "--take", "1").stdout
    assert _conself(home, "problems", "mine", "--show", "9").exit_code == 2


def test_an_edited_problem_replaces_the_old_one(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = _edit(home, monkeypatch, "of a garden", "of a zoo")
    assert done.exit_code == 0 and "question 1 is changed" in done.stderr
    with Store(home / "conself.db") as store:
        kept = load_question(store, 1)
    assert kept.is_edited and kept.problem.statement.startswith("Count the birds of a zoo")
    assert not list(home.glob("*.toml"))


def test_a_wrong_edit_keeps_the_old_problem_and_the_text_for_the_next_edit(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An edit that took minutes is not lost because of one wrong quote."""
    done = _edit(home, monkeypatch, "inputs = [", "input = [")
    assert done.exit_code == 2 and "inputs must be a list" in done.stderr and "->" in done.stderr
    with Store(home / "conself.db") as store:
        assert not load_question(store, 1).is_edited
    again = _edit(home, monkeypatch, "input = [", 'inputs = [\n"7",')
    assert again.exit_code == 0, again.stderr
    with Store(home / "conself.db") as store:
        assert load_question(store, 1).problem.inputs == ((7,), (1,), (2,))


def test_an_editor_that_fails_or_is_missing_changes_nothing(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VISUAL", raising=False)
    for editor, reason in (("false", "ended with status 1"), ("/no such/editor", "cannot be started"), ("'", "cannot")):
        monkeypatch.setenv("EDITOR", editor)
        done = _conself(home, "problems", "mine", "--edit", "1")
        assert done.exit_code == 2 and reason in done.stderr and "EDITOR=nano" in done.stderr


def test_keeping_is_turned_off_and_on(home: Path) -> None:
    assert _conself(home, "problems", "keep").stdout == "your questions are kept\n"
    assert _conself(home, "problems", "keep", "off").stdout == "your questions are not kept\n"
    assert _conself(home, "problems", "keep", "on").stdout == "your questions are kept\n"


def test_forgetting_asks_first_and_says_what_it_deletes(home: Path) -> None:
    assert "add --yes" in _conself(home, "forget", "1").stderr
    assert "name one question" in _conself(home, "forget", "--yes").stderr
    assert "name one question" in _conself(home, "forget", "1", "--all", "--yes").stderr
    assert _conself(home, "forget", "7", "--yes").exit_code == 2
    done = _conself(home, "forget", "1", "--yes")
    assert done.exit_code == 0 and "no adapter of this home was trained on them" in done.stdout
    assert "no question is kept yet" in _conself(home, "problems", "mine").stderr
    assert json.loads(_conself(home, "forget", "--all", "--yes", "--json").stdout)["questions"] == []
