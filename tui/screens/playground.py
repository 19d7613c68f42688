"""A task for the model: base and adapter answer, and either answer is run in the sandbox on inputs you type."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.widgets import Input, Static, TextArea

from conself_local.machine.resources import usable_cores
from conself_local.model_files.bundled import bundled_model
from conself_local.model_files.model_file import ModelFile, load_model_file, verify_adapter_file
from conself_local.sampling.extract import extract_program
from conself_local.serving.ask import ask_model, current_adapter
from conself_local.serving.try_program import try_program
from conself_local.store.store import Store
from tui.screens.base import EXPECTED_ERRORS, BaseScreen, format_error
from tui.widgets.source_view import SourceView

ARMS = ("base", "adapter")


class PlaygroundScreen(BaseScreen):
    NAME = "playground"
    HELP = (
        "Type a task; base model and adapter answer it, one after the other. Esc leaves a field, i goes to the input. b or t runs the "
        "base's or the adapter's program in the sandbox: on a call like double(3), or on text for standard input. Nothing runs outside "
        "the sandbox."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+s", "ask", "Ask", priority=True),
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
        yield Input(
            placeholder="what to run: a call like double(3), or text for standard input", id="call", compact=True
        )
        yield Static("", id="ran", markup=False)

    def load(self, store: Store) -> Any:
        model = load_model_file(self.app_state.model or bundled_model())
        return model, *self._adapter(store, model)

    def _adapter(self, store: Store, model: ModelFile) -> tuple[Path | None, str]:
        """The adapter's file, None where there is none; and what is wrong with it."""
        try:
            adapter = current_adapter(store, model, self.app_state.adapter_id)
            if adapter:
                verify_adapter_file(adapter, model)
        except EXPECTED_ERRORS as error:
            return None, format_error(error)
        return adapter, ""

    def show(self, data: Any) -> None:
        model, adapter, trouble = data
        self.query_one("#base", SourceView).border_title = "base"
        self.query_one("#adapter", SourceView).border_title = (
            f"adapter of {adapter.parent.name}" if adapter else "adapter: none yet"
        )
        if trouble:
            self.set_status(f"{trouble}; until then the base model answers alone", bad=True)
        else:
            self.set_status(
                f"{model.name} -> type a task, Ctrl+S asks" + ("" if adapter else "; a round makes the adapter")
            )

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
        self.notify("loading the model ...")
        self._ask(self.query_one("#task", TextArea).text)

    @work(thread=True, exclusive=True, group="ask")
    def _ask(self, task: str) -> None:
        try:
            with self.app_state.reading() as store:
                model: ModelFile = load_model_file(self.app_state.model or bundled_model())
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
            self.notify, "Esc, then i to say on what; then b runs the base's program, t the adapter's, in the sandbox"
        )

    def _answering(self, arm: str) -> None:
        self._show_arm(arm)
        self.notify(f"{arm} answers ...")

    def _show_arm(self, arm: str) -> None:
        if self.is_attached:
            view = self.query_one(f"#{arm}", SourceView)
            view.show(self._answers[arm], str(view.border_title or arm), python=False)

    def action_try(self, arm: str) -> None:
        code = extract_program(self._answers[arm])
        if code is None:
            self.notify(f"{arm} has not answered with a ```python block -> Ctrl+S asks", severity="error")
            return
        self.query_one("#ran", Static).update(f"running {arm} ...")
        self._try(arm, code, self.query_one("#call", Input).value)

    @work(thread=True, exclusive=True, group="try")
    def _try(self, arm: str, code: str, call: str) -> None:
        try:
            said = try_program(code, call)
        except EXPECTED_ERRORS as error:
            said = format_error(error)
        self.app.call_from_thread(self.query_one("#ran", Static).update, f"{arm}: {said}")
