"""One key answers the one question of `conself ask --best-of`, on a real terminal, and the answer is kept."""

from __future__ import annotations

import itertools
import os
import sys
import threading
from pathlib import Path
from typing import cast

import click
import pytest

from conself_local.cli import best_of
from conself_local.model_files.model_file import ModelFile
from conself_local.serving.ask_best_of import AskBestOf
from conself_local.serving.verdict import OpenQuestion, Verdict
from conself_local.store.store import Store
from conself_local.store.user_answers import load_user_answers

QUESTION = OpenQuestion(0, "f", (3,), ("'\\x1b[2J'", "9"), ("one", "two"), (9, 4), (1,), ((2,), (3,)))


class _Asked:
    """A question that was answered by programs."""

    def take_word(self, question: OpenQuestion, choice: str) -> Verdict:
        return Verdict("replaced", f"the program of {choice}", "you decided")


def _type(terminal: int, keys: bytes, answered: threading.Event) -> None:
    """Press the keys in turn until one has answered; a terminal forgets what is typed before a program reads keys."""
    for key in itertools.cycle(keys):
        os.write(terminal, bytes([key]))
        if answered.wait(0.05):
            return


@pytest.mark.parametrize(
    ("keys", "choice"), [(b"xB", "b"), (b"a", "a"), (b"n", "neither"), (b"s", None), (b"\r", None), (b"\x1b", None)]
)
def test_one_key_decides(
    keys: bytes, choice: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    master, slave = os.openpty()
    context = click.Context(click.Command("ask"), obj={"home": tmp_path, "weaker": ()})
    model = cast(ModelFile, type("Model", (), {"sha256": "abc"}))
    with os.fdopen(slave, "r") as terminal, context:
        monkeypatch.setattr(sys, "stdin", terminal)
        answered = threading.Event()
        typist = threading.Thread(target=_type, args=(master, keys, answered))
        typist.start()
        printer = best_of._Printer(as_json=False)
        best_of._ask_user(context, model, "Write f.", cast(AskBestOf, _Asked()), QUESTION, printer)
        answered.set()
        typist.join()
    os.close(master)
    printed = capsys.readouterr()
    assert "What should f(3) give?" in printed.err and "b: 9  (4 programs)" in printed.err and "\x1b" not in printed.err
    with Store(tmp_path / "conself.db") as store:
        kept = load_user_answers(store)
    assert [one.choice for one in kept] == ([choice] if choice else [])
    assert (f"the program of {choice}" in printed.out) == (choice is not None)
    assert all((one.question, one.input, one.model_sha256) == ("Write f.", "(3,)", "abc") for one in kept)


def test_only_an_answer_that_does_not_stand_there_yet_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    printer = best_of._Printer(as_json=False)
    printer.text("first")
    printer.verdict(Verdict("confirmed", "first", "4 of 4 agree"))
    printer.verdict(Verdict("replaced", "second \x1b[2J", "you decided"))
    printed = capsys.readouterr()
    assert printed.out.count("first") == 1 and "second \\x1b[2J" in printed.out
    assert "--- 4 of 4 agree ---" in printed.err
