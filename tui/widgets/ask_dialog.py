"""Ask a question over the screen: yes or no, or a line of text."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input

from tui.widgets.plain import PlainLabel


class Confirm(ModalScreen[bool | None]):
    """A yes-or-no question, dismissed with True on y, with False on n, and with None, which does nothing, on Escape."""

    DEFAULT_CSS = """
    Confirm, AskLine { align: center middle; }
    Confirm > Vertical, AskLine > Vertical {
        width: 64; max-width: 90%; height: auto; border: thick $accent; padding: 1 2; background: $surface;
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer(True)", "Yes"),
        Binding("n", "answer(False)", "No"),
        Binding("escape", "answer(None)", "Back"),
    ]

    def __init__(self, question: str) -> None:
        super().__init__()
        self._question = question

    def compose(self) -> ComposeResult:
        with Vertical():
            yield PlainLabel(self._question)
            yield PlainLabel("y: yes    n: no    Esc: back", classes="dim")

    def action_answer(self, answer: bool | None) -> None:
        self.dismiss(answer)


class AskLine(ModalScreen[str | None]):
    """A field for one line, dismissed with the text on Enter and with None on Escape."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss(None)", "Cancel")]

    def __init__(self, question: str, value: str = "") -> None:
        super().__init__()
        self._question, self._value = question, value

    def compose(self) -> ComposeResult:
        with Vertical():
            yield PlainLabel(self._question)
            yield Input(self._value)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        self.dismiss(event.value)
