"""Ask the model: base and adapter answer a task, and either program runs in the sandbox on an input you type."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
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
from tui.screens.base import EXPECTED_ERRORS, BaseScreen, format_error
from tui.widgets.best_of import BestOfDialog
from tui.widgets.plain import Plain
from tui.widgets.source_view import SourceView

ARMS = ("base", "adapter")


class PlaygroundScreen(BaseScreen):
    """The screen with a field for a task, two answers side by side, and a field for an input to run them on."""

    NAME = "playground"
    HELP = (
        "Type a task and press Ctrl+S: the base model answers it, then the adapter. Esc leaves a field, i goes to the "
        "input: a call like double(3), or text for standard input. b runs the base model's program on it in the "
        "sandbox, t the adapter's. Ctrl+B asks and compares 16 programs before one is shown. Nothing runs outside the "
        "sandbox."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+s", "ask", "Ask", priority=True),
        Binding("ctrl+b", "best_of", "Best of 16", priority=True),
        Binding("i", "to_call", "Input"),
        Binding("b", "try('base')", "Run base"),
        Binding("t", "try('adapter')", "Run adapter"),
        Binding("escape", "leave", "Leave the field", show=False),
    ]

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._answers = dict.fromkeys(ARMS, "")

    def compose_body(self) -> ComposeResult:
        yield TextArea("Write a Python function double(n) that returns n times 2.", id="task")
        with Horizontal():
            for arm in ARMS:
                yield SourceView(id=arm)
        yield Input(placeholder="the input: a call like double(3), or text for standard input", id="call", compact=True)
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
        self.query_one("#base", SourceView).set_title("base")
        self.query_one("#adapter", SourceView).set_title(
            f"adapter of {adapter.parent.name}" if adapter else "adapter: none yet"
        )
        if adapter_error:
            self.set_status(f"{adapter_error}; until this is fixed, only the base model answers", is_error=True)
        else:
            hint = "" if adapter else " There is no adapter yet; a round trains one."
            self.set_status(f"Model: {model.name}. Type a task, then press Ctrl+S to ask.{hint}")

    def action_leave(self) -> None:
        self.set_focus(None)

    def action_to_call(self) -> None:
        self.query_one("#call").focus()

    @on(Input.Submitted, "#call")
    def _call_given(self) -> None:
        self.set_focus(None)

    def action_ask(self) -> None:
        self._answers = dict.fromkeys(ARMS, "")
        for arm in ARMS:
            self._show_arm(arm)
        self.notify("Loading the model ...")
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
            for arm, text in pieces:
                self._answers[arm] += text
                self.app.call_from_thread(self._answering, arm)
        except EXPECTED_ERRORS as error:
            self.app.call_from_thread(self.notify, format_error(error), severity="error")
            return
        self.app.call_from_thread(
            self.notify,
            "Press Esc, then i to type an input. Then b runs the base model's program in the sandbox, t the adapter's.",
        )

    def _answering(self, arm: str) -> None:
        self._show_arm(arm)
        self.notify(f"Answering: {arm} ...")

    def _show_arm(self, arm: str) -> None:
        if self.is_attached:
            self.query_one(f"#{arm}", SourceView).show(self._answers[arm], python=False)

    def action_try(self, arm: str) -> None:
        code = extract_program(self._answers[arm])
        if code is None:
            message = f"Nothing to run: {arm} has not answered with a ```python block. Press Ctrl+S to ask."
            self.notify(message, severity="error")
            return
        self.query_one("#ran", Plain).update(f"{arm}: running ...")
        self._try(arm, code, self.query_one("#call", Input).value)

    @work(thread=True, exclusive=True, group="try")
    def _try(self, arm: str, code: str, call: str) -> None:
        try:
            result = try_program(code, call)
        except EXPECTED_ERRORS as error:
            result = format_error(error)
        self.app.call_from_thread(self.query_one("#ran", Plain).update, f"{arm}: {result}")
