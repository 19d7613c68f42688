"""The dialog of a best-of answer shows answer, verdict and the one question, and keys decide, stop and close."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from textual.app import App
from textual.widgets import TextArea

from conself_local.problems.problem import Problem
from conself_local.serving.verdict import Choice, OpenQuestion, Verdict
from conself_local.store.kept_questions import AnsweredQuestion, Votes, load_questions
from sandbox import SandboxError
from tests.tui.conftest import press, settle
from tui.app import ConselfApp
from tui.screens import playground
from tui.widgets.best_of import BestOfDialog

QUESTION = OpenQuestion(0, "double", (3,), ("6", "9"), ("return n * 2", "return n * n"), (9, 4), (1,), ((2,), (3,)))


class _Asked:
    """A question whose verdict the test gives; it waits for `stop` if `waits` is set."""

    def __init__(self, verdict: Verdict | Exception, *, waits: bool = False) -> None:
        self._verdict, self._waits = verdict, waits
        self.stopped = threading.Event()
        self.on_text: Callable[[str], None] = print
        self.on_progress: Callable[[str], None] = print

    def run(self) -> Verdict:
        self.on_text("```python\nfirst \x1b[2J\n```")
        self.on_progress("3 of 4 agree")
        if self._waits:
            assert self.stopped.wait(30)
        if isinstance(self._verdict, Exception):
            raise self._verdict
        return self._verdict

    def stop(self) -> None:
        self.stopped.set()

    def take_word(self, question: OpenQuestion, choice: Choice) -> Verdict:
        return Verdict("replaced", f"the program of {choice}", f"you decided on {question.call}")


def _dialog(asked: _Asked, kept: list[tuple[OpenQuestion, Choice]]) -> BestOfDialog:
    def make(on_text: Callable[[str], None], on_progress: Callable[[str], None]) -> _Asked:
        asked.on_text, asked.on_progress = on_text, on_progress
        return asked

    return BestOfDialog(make, lambda *word: kept.append(word), (SandboxError,), lambda error: f"{error}")


def _text(app: App[None]) -> str:
    return "\n".join("".join(segment.text for segment in strip) for strip in app.screen._compositor.render_strips())


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_one_key_decides_the_one_question_and_keeps_the_answer(size: tuple[int, int]) -> None:
    kept: list[tuple[OpenQuestion, Choice]] = []
    verdict = Verdict(
        "unsure", "x", "the model is not sure: 4 of 16 agree", "return n * 2", "return n * n", 4, 16, 20, QUESTION
    )
    app: App[None] = App()
    async with app.run_test(size=size) as pilot:
        await app.push_screen(_dialog(_Asked(verdict), kept))
        await settle(pilot)
        shown = _text(app)
        assert "What should double(3) give?" in shown and "a: 6" in shown and "b: 9" in shown and "\x1b" not in shown
        assert "not sure" in shown and "return n * 2" in shown and "return n * n" in shown
        await press(pilot, "b")
        assert kept == [(QUESTION, "b")] and "the program of b" in _text(app) and "you decided" in _text(app)
        await press(pilot, "a")
        assert len(kept) == 1, "there is one question only"
        await press(pilot, "escape")
        assert not isinstance(app.screen, BestOfDialog)


async def test_a_question_can_be_stopped_and_closing_stops_it() -> None:
    for key in ("x", "escape"):
        asked = _Asked(Verdict("confirmed", "x", "stopped; 3 of 4 agree"), waits=True)
        app: App[None] = App()
        async with app.run_test(size=(80, 24)) as pilot:
            await app.push_screen(_dialog(asked, []))
            while "3 of 4" not in _text(app):
                await pilot.pause(0.01)
            await press(pilot, key)
            assert asked.stopped.is_set()
            assert "stopped; 3 of 4 agree" in _text(app) or key == "escape"


async def test_an_error_is_shown() -> None:
    app: App[None] = App()
    async with app.run_test(size=(80, 24)) as pilot:
        await app.push_screen(_dialog(_Asked(SandboxError("this computer lacks landlock")), []))
        await settle(pilot)
        assert "! this computer lacks landlock" in _text(app)
        assert not app.screen.query_one("#best-second-panel").display


async def test_a_question_of_the_playground_is_kept_as_a_training_problem(
    empty_app: ConselfApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = Problem("mine", "Write double(n).", "function", ((3,),), "train", "double", "def double(n):")

    class _Answered(_Asked):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(Verdict("confirmed", "x", "4 of 4 agree"))
            self.on_text, self.on_progress, self._keep_question = arguments[-3:]

        def run(self) -> Verdict:
            self._keep_question(AnsweredQuestion("Double?", problem, Votes("confirmed", 4, 4, (4,))))
            return super().run()

    monkeypatch.setattr(playground, "AskBestOf", _Answered)
    async with empty_app.run_test(size=(80, 24)) as pilot:
        await press(pilot, "7", "ctrl+b")
        while "4 of 4 agree" not in _text(empty_app):
            await pilot.pause(0.01)
        await settle(pilot)
        with empty_app.app_state.reading() as store:
            (kept,) = load_questions(store)
        assert (kept.question, kept.votes.agree) == ("Double?", 4)


@pytest.mark.model
@pytest.mark.timeout(300)
async def test_the_playground_compares_programs_by_keys_alone(empty_app: ConselfApp) -> None:
    async with empty_app.run_test(size=(80, 24)) as pilot:
        await press(pilot, "7")
        empty_app.screen.query_one(TextArea).text = "Say hi."
        await press(pilot, "ctrl+b")
        assert isinstance(empty_app.screen, BestOfDialog)
        while "nothing to compare" not in _text(empty_app):
            await pilot.pause(0.1)
        await press(pilot, "escape")
        assert not isinstance(empty_app.screen, BestOfDialog)
