"""Ask the model: base and adapter answer a task, and both programs run in the sandbox on an input you type."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.content import Content
from textual.widgets import Input, TextArea

from conself_local.machine.resources import usable_cores
from conself_local.model_files.bundled import bundled_model
from conself_local.model_files.model import Model, open_model, verify_adapter_of
from conself_local.sampling.extract import extract_program
from conself_local.serving.ask import ask_model, current_adapter
from conself_local.serving.ask_best_of import AskBestOf, AskOptions
from conself_local.serving.best_of import MOST
from conself_local.serving.try_program import make_sandbox, try_program
from conself_local.serving.user_word import keep_word
from conself_local.serving.verdict import Choice, OpenQuestion
from conself_local.store.kept_questions import AnsweredQuestion
from conself_local.store.kept_questions import keep_question as store_question
from conself_local.store.store import Store
from sandbox import Status
from tui.design import BAD, DONE, FAILED, GOOD, LEFT_OUT, RUNNING, model_name, plain
from tui.screens.base import EXPECTED_ERRORS, BaseScreen, format_error
from tui.widgets.best_of import BestOfDialog
from tui.widgets.panel import Panel
from tui.widgets.plain import Plain
from tui.widgets.source_view import SourceView

ARMS = ("base", "adapter")
_FAILURES = tuple(f"{status.value}:" for status in Status if status is not Status.OK)
"""How the result of a run that did not end well begins."""


class PlaygroundScreen(BaseScreen):
    """The screen with a field for a task, two answers side by side, and a field for an input to run them on."""

    NAME = "playground"
    AUTO_FOCUS = "#base"
    HELP = (
        "i or Enter goes to the task, Esc leaves it, and Ctrl+S asks: the base model answers, then the adapter. "
        "Below, type what to run the programs on: a call like double(3), or text for standard input; Ctrl+R, or Enter"
        " in that field, runs both programs in the sandbox. Ctrl+B asks and compares 16 programs before one is shown. "
        "Nothing runs outside the sandbox."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+s", "ask", "Ask both", priority=True),
        Binding("ctrl+b", "best_of", "Best of 16", priority=True),
        Binding("ctrl+r", "run_both", "Run both", priority=True),
        Binding("i,enter", "to_task", "Task", key_display="i"),
    ]

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._answers = dict.fromkeys(ARMS, "")
        self._names = {"base": "base", "adapter": "adapter: none yet"}
        self._has_adapter = self._adapter_broken = False

    def compose_body(self) -> ComposeResult:
        with Panel(heading="Task", keys="ctrl+s ask both   Esc leaves the field", id="task-panel"):
            yield TextArea("Write a Python function double(n) that returns n times 2.", id="task", compact=True)
        with Horizontal(id="answers"):
            for arm in ARMS:
                with Panel(heading=arm, id=f"{arm}-panel"):
                    yield SourceView(id=arm)
        with Panel(heading="Run both programs on", keys="ctrl+r or Enter runs both in the sandbox", id="run-panel"):
            yield Input(placeholder="a call like double(3), or text for standard input", id="call", compact=True)
            yield Plain("", id="ran")

    def load(self, store: Store) -> Any:
        model = open_model(self.app_state.model or bundled_model())
        return model, *self._adapter(store, model)

    def _adapter(self, store: Store, model: Model) -> tuple[Path | None, str]:
        """Return the adapter's file, or None without one, and what is wrong with it, or an empty text."""
        try:
            adapter = current_adapter(store, model, self.app_state.adapter_id)
            if adapter:
                verify_adapter_of(adapter, model)
        except EXPECTED_ERRORS as error:
            return None, format_error(error)
        return adapter, ""

    def show(self, data: Any) -> None:
        model, adapter, adapter_error = data
        self._has_adapter, self._adapter_broken = adapter is not None, bool(adapter_error)
        self._names["adapter"] = (
            f"adapter of {adapter.parent.name}" if adapter else f"adapter{'' if adapter_error else ': none yet'}"
        )
        for arm in ARMS:
            self.query_one(f"#{arm}-panel", Panel).set_heading(self._names[arm])
            if not self._answers[arm]:
                self.query_one(f"#{arm}", SourceView).show(self._empty(arm), python=False)
        self.query_one("#task-panel", Panel).set_heading(f"Task for {model_name(model.path.name)}")
        if adapter_error:
            self.set_status(f"{adapter_error}; until this is fixed, only the base model answers", is_error=True)
        else:
            self.set_status("")

    def _empty(self, arm: str) -> str:
        if arm == "base" or self._has_adapter:
            return f"The answer of the {arm if arm == 'adapter' else 'base model'} comes here: ctrl+s asks."
        if self._adapter_broken:
            return "The adapter cannot be used; the line below says why."
        return "There is no adapter yet. A round trains one: press 1 to start one."

    def action_to_task(self) -> None:
        self.query_one("#task").focus()

    @on(Input.Submitted, "#call")
    def _call_given(self) -> None:
        self.action_run_both()

    def action_ask(self) -> None:
        self._answers = dict.fromkeys(ARMS, "")
        for arm in ARMS:
            self._show_arm(arm, "")
        self.query_one("#base-panel", Panel).set_heading(f"{self._names['base']} · {RUNNING} loading the model")
        self._ask(self.query_one("#task", TextArea).text)

    def action_best_of(self) -> None:
        """Ask the adapter, or the base model without one, and compare several programs before one is shown."""
        task = self.query_one("#task", TextArea).text
        self.run_with_store(self._model_and_adapter, lambda found: self._open_best_of(task, *found))

    def _model_and_adapter(self, store: Store) -> tuple[Model, Path | None]:
        model = open_model(self.app_state.model or bundled_model())
        return model, self._adapter(store, model)[0]

    def _open_best_of(self, task: str, model: Model, adapter: Path | None) -> None:
        options = AskOptions(most=MOST, max_new_tokens=512, threads=usable_cores(), use_gpu=True)

        def keep(question: OpenQuestion, choice: Choice) -> None:
            self.run_with_store(
                lambda store: keep_word(store, task, question, choice, model.sha256),
                lambda _: self.notify("Your answer is kept in this home as your own word."),
            )

        def keep_question(answered: AnsweredQuestion) -> None:
            self.app.call_from_thread(
                self.run_with_store, lambda store: store_question(store, answered), self._question_kept
            )

        def make(on_text: Callable[[str], None], on_progress: Callable[[str], None]) -> AskBestOf:
            home = self.app_state.home
            return AskBestOf(home, model, adapter, task, options, make_sandbox, on_text, on_progress, keep_question)

        self.app.push_screen(BestOfDialog(make, keep, EXPECTED_ERRORS, format_error))

    def _question_kept(self, number: int | None) -> None:
        if number is not None:
            self.notify(f"Kept as your question {number}: it can train. `conself problems mine` shows it.")

    @work(thread=True, exclusive=True, group="ask")
    def _ask(self, task: str) -> None:
        try:
            with self.app_state.reading() as store:
                model: Model = open_model(self.app_state.model or bundled_model())
                adapter, _ = self._adapter(store, model)
            arms: dict[str, Path | None] = {"base": None}
            if adapter:
                arms["adapter"] = adapter
            pieces = ask_model(
                self.app_state.home,
                model,
                task,
                arms,
                temperature=0.0,
                max_new_tokens=512,
                threads=usable_cores(),
                use_gpu=True,
            )
            started: dict[str, float] = {}
            for arm, text in pieces:
                started.setdefault(arm, time.monotonic())
                self._answers[arm] += text
                seconds = time.monotonic() - started[arm]
                self.app.call_from_thread(self._show_arm, arm, f"{RUNNING} answering, {seconds:.1f} s")
                for other in started:
                    if other != arm:
                        self.app.call_from_thread(self._show_answered, other)
        except EXPECTED_ERRORS as error:
            self.app.call_from_thread(self.notify, format_error(error), severity="error")
            return
        for arm in arms:
            self.app.call_from_thread(self._show_answered, arm)
        self.app.call_from_thread(self.notify, "Answered. ctrl+r runs both programs in the sandbox.")

    def _show_answered(self, arm: str) -> None:
        program = extract_program(self._answers[arm])
        self._show_arm(arm, f"{DONE} answered" if program else f"{FAILED} answered without a program")

    def _show_arm(self, arm: str, said: str) -> None:
        if self.is_attached:
            self.query_one(f"#{arm}-panel", Panel).set_heading(f"{self._names[arm]}{' · ' if said else ''}{said}")
            self.query_one(f"#{arm}", SourceView).show(self._answers[arm], python=False)

    def action_run_both(self) -> None:
        """Run every program that was answered on the input; an answer without a program says so."""
        codes = {arm: extract_program(answer) for arm, answer in self._answers.items() if answer}
        if not codes:
            self.notify("Nothing to run yet: ctrl+s asks for programs.", severity="error")
            return
        self.query_one("#ran", Plain).update("running ...")
        self._run_both(codes, self.query_one("#call", Input).value)

    @work(thread=True, exclusive=True, group="try")
    def _run_both(self, codes: Mapping[str, str | None], call: str) -> None:
        results = {arm: _run_one(code, call) for arm, code in codes.items()}
        self.app.call_from_thread(self._show_results, results)

    def _show_results(self, results: Mapping[str, tuple[str, str]]) -> None:
        styles = {DONE: GOOD, FAILED: BAD}
        lines = [
            Content.assemble((f"{sign} ", styles.get(sign, "")), f"{arm}: ", plain(text))
            for arm, (sign, text) in results.items()
        ]
        if len(results) == 2 and all(sign == DONE for sign, _ in results.values()):
            same = len({text for _, text in results.values()}) == 1
            lines.append(plain("both give the same" if same else "they differ"))
        self.query_one("#ran", Plain).update(Content("\n").join(lines))


def _run_one(code: str | None, call: str) -> tuple[str, str]:
    """Return (sign, what came of running a program on the input)."""
    if code is None:
        return LEFT_OUT, "nothing to run: the answer holds no ```python block"
    try:
        result = try_program(code, call)
    except EXPECTED_ERRORS as error:
        return FAILED, format_error(error)
    return FAILED if result.startswith(_FAILURES) else DONE, result
