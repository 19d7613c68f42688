"""Print what comes of `conself ask --best-of`: the first answer, the verdict, and the one question to the user.

Answers go to standard output, everything else to standard error. Not covered: the work (`serving/ask_best_of.py`).
"""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.cells import cell_len

from conself_local.cli.mine import keep_answered
from conself_local.cli.options import open_store, sandbox_maker
from conself_local.cli.output import echo
from conself_local.errors import EXIT_STOPPED
from conself_local.foreign_text import shown
from conself_local.machine.resources import usable_cores

if TYPE_CHECKING:
    from conself_local.home import Home
    from conself_local.model_files.model import Model
    from conself_local.serving.ask_best_of import AskBestOf, AskOptions
    from conself_local.serving.verdict import Choice, OpenQuestion, Verdict

MAX_BEST_OF = 32
_KEYS: dict[str, Choice | None] = {
    "a": "a", "b": "b", "n": "neither", "s": None, "\r": None, "\n": None, "\x1b": None, "q": None, "": None,
}  # fmt: skip
"""Key -> the answer that it gives; None leaves the question open."""
_GAP = "   "


@dataclass
class _Printer:
    """Prints the first answer while it grows, and then the verdict."""

    as_json: bool
    _ended: bool = field(default=False, init=False)
    _shown: str = field(default="", init=False)
    """The answer that stands on the terminal."""

    def text(self, new: str) -> None:
        """Print new text of the first answer."""
        self._shown += new
        if self.as_json:
            echo(json.dumps({"arm": "first", "text": new}))
        else:
            echo(new, nl=False)

    def progress(self, sentence: str) -> None:
        """Print how the comparison stands."""
        self._end()
        echo(f"comparing: {sentence}", err=True)

    def verdict(self, verdict: Verdict) -> None:
        """Print the verdict, and the answer if it is not the one that stands there already."""
        self._end()
        if self.as_json:
            asked = verdict.question
            question = {"call": asked.call, "a": asked.outputs[0], "b": asked.outputs[1]} if asked else None
            found = {"answer": verdict.answer, "other": verdict.other, "question": question}
            echo(json.dumps(verdict.summary() | found))
            return
        echo(f"--- {verdict.reason} ---", err=True)
        if verdict.other:
            echo(side_by_side(verdict.code, verdict.other, shutil.get_terminal_size().columns))
            self._shown = ""
        elif verdict.answer != self._shown:
            echo(verdict.answer)
            self._shown = verdict.answer

    def _end(self) -> None:
        if not self._ended and not self.as_json:
            echo()
        self._ended = True


def print_best_of(
    ctx: click.Context,
    home: Home,
    model: Model,
    adapter: Path | None,
    question: str,
    options: AskOptions,
    *,
    as_json: bool,
    keeps: bool = True,
) -> None:
    """Answer a question by the consensus of several programs, ask the user one question, and print what comes of it.

    keeps: whether the question is kept as a training problem, unless keeping is turned off in the home.
    """
    from conself_local.serving.ask_best_of import AskBestOf
    from conself_local.store.kept_questions import AnsweredQuestion

    printer, answered = _Printer(as_json), list[AnsweredQuestion]()
    make_sandbox = sandbox_maker(ctx, usable_cores())
    asked = AskBestOf(
        home, model, adapter, question, options, make_sandbox, printer.text, printer.progress, answered.append
    )
    verdict = asked.run()
    printer.verdict(verdict)
    if answered and keeps:
        keep_answered(ctx, answered[0])
    if asked.is_stopped:
        sys.exit(EXIT_STOPPED)
    if verdict.question and not as_json and sys.stdin.isatty() and sys.stderr.isatty():
        _ask_user(ctx, model, question, asked, verdict.question, printer)


def _ask_user(
    ctx: click.Context, model: Model, text: str, asked: AskBestOf, question: OpenQuestion, printer: _Printer
) -> None:
    """Ask for one key, keep the answer as the user's word, and print the answer that follows."""
    from conself_local.serving.user_word import keep_word

    echo("\n".join(question.lines()), err=True)
    echo("Press a or b, n for neither, s to skip: ", err=True, nl=False)
    choice = _read_choice()
    echo(choice or "skipped", err=True)
    if choice is None:
        return
    with open_store(ctx) as (_, store):
        keep_word(store, text, question, choice, model.sha256)
    echo("kept in this home as your own word", err=True)
    printer.verdict(asked.take_word(question, choice))


def _read_choice() -> Choice | None:
    """Return the answer of the first key that means something; Ctrl-C and the end of input skip the question."""
    while True:
        try:
            key = click.getchar().lower()
        except (EOFError, KeyboardInterrupt):
            return None
        if key in _KEYS:
            return _KEYS[key]


def side_by_side(left: str, right: str, columns: int) -> str:
    """Return two programs beside each other, or one after the other if the terminal is too narrow for that."""
    a, b = (
        ["answer " + name, "", *shown(code).expandtabs(4).splitlines()] for name, code in (("a", left), ("b", right))
    )
    width = max(map(cell_len, a))
    if width + len(_GAP) + max(map(cell_len, b)) > columns:
        return "\n".join([*a, "", *b])
    rows = max(len(a), len(b))
    padded = [[*lines, *[""] * (rows - len(lines))] for lines in (a, b)]
    lines = [f"{one}{' ' * (width - cell_len(one))}{_GAP}{other}" for one, other in zip(*padded, strict=True)]
    return "\n".join(line.rstrip() for line in lines)
