"""Ask a question over the screen: one of some answers, or a line of text. Escape always means that nothing happens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.events import Key
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList
from textual.widgets.option_list import Option

from tui.design import plain
from tui.widgets.dialog import dialog_box
from tui.widgets.plain import Plain


@dataclass(frozen=True)
class Answer:
    """One answer to a question."""

    key: str
    """The key that gives it."""
    text: str
    """A verb with its object, such as `Stop the round`."""
    value: str
    """What the dialog is dismissed with."""


class Ask(ModalScreen[str | None]):
    """A question, dismissed with the value of the chosen answer, or with None, which does nothing, on Escape.

    The first answer listed is under the cursor; `stay` is the harmless one and stands first.
    """

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss(None)", "Stay")]

    def __init__(self, heading: str, question: str, answers: Sequence[Answer], stay: str = "Stay") -> None:
        super().__init__()
        self._heading, self._question, self._stay = heading, question, stay
        self._answers = answers

    def compose(self) -> ComposeResult:
        with dialog_box(self._heading):
            yield Plain(self._question)
            options = [Option(plain(f"Esc  {self._stay}"))]
            options += [Option(plain(f"{answer.key:<3}  {answer.text}"), id=answer.value) for answer in self._answers]
            yield OptionList(*options, markup=False, compact=True)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(event.option.id)

    def on_key(self, event: Key) -> None:
        for answer in self._answers:
            if event.key == answer.key:
                event.stop()
                self.dismiss(answer.value)


class AskLine(ModalScreen[str | None]):
    """A field for one line, dismissed with the text on Enter and with None on Escape."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss(None)", "Cancel")]

    def __init__(self, question: str, value: str = "") -> None:
        super().__init__()
        self._question, self._value = question, value

    def compose(self) -> ComposeResult:
        with dialog_box(self._question, "Enter takes it   Esc changes nothing"):
            yield Input(self._value, compact=True)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        self.dismiss(event.value)
