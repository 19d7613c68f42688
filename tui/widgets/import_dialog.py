"""Ask which adapter is to be imported, for which model, under which name, and whether the next round begins with it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.screen import ModalScreen
from textual.widgets import Button, Input, Select

from conself_local.errors import ConselfError
from conself_local.home import expand_user
from tui.design import BAD, FAILED, MUTED, NOT_BEGUN, signed
from tui.widgets.dialog import dialog_box
from tui.widgets.plain import Plain, PlainLabel


@dataclass(frozen=True)
class ImportChoice:
    """What was chosen."""

    path: Path
    model: Path | None
    """None: the bundled model."""
    name: str
    keep: bool
    """Whether the next round on the model begins with it."""


class ImportDialog(ModalScreen[ImportChoice | None]):
    """A form, dismissed with the choice, or with None on Escape, which imports nothing."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss(None)", "Cancel")]

    def __init__(self, model: Path | None) -> None:
        super().__init__()
        self._model = model

    def compose(self) -> ComposeResult:
        with dialog_box("Import an adapter", "Tab next field   Esc imports nothing"):
            yield PlainLabel("From: a GGUF LoRA file, a PEFT folder or an mlx-lm folder", classes="label")
            yield Input(placeholder="path", id="path", compact=True)
            yield PlainLabel("For the model (empty: the bundled one)", classes="label")
            yield Input(str(self._model or ""), placeholder="path of its GGUF file", id="model", compact=True)
            yield PlainLabel("Name (empty: that of the file)", classes="label")
            yield Input(placeholder="letters, digits, . _ and -", id="name", compact=True)
            yield PlainLabel("What the next round on this model does with it", classes="label")
            options = [("nothing yet: a on the screen of adapters keeps it", False), ("begins with it", True)]
            yield Select(options, value=False, allow_blank=False, id="keep", compact=True)
            yield Plain("", id="reason")
            with Horizontal(classes="buttons"):
                yield Button("Import", id="import", variant="primary", compact=True)

    def on_mount(self) -> None:
        self._check()

    @on(Input.Changed)
    def _check(self) -> None:
        reason = self._reason()
        line = self.query_one("#reason", Plain)
        waits = not self.query_one("#path", Input).value.strip()
        line.update(signed(NOT_BEGUN, "It is read and checked against the model.", MUTED) if waits or not reason
                    else signed(FAILED, reason, BAD))  # fmt: skip
        self.query_one("#import", Button).disabled = bool(reason)

    def _reason(self) -> str:
        """Return why nothing can be imported; empty if the places exist. The content is checked later."""
        try:
            if not (path := self._path("path")) or not path.exists():
                return "there is no such file or folder"
            model = self._path("model")
            return "there is no such model file" if model and not model.exists() else ""
        except ConselfError as error:
            return error.message
        except (OSError, ValueError) as error:
            return str(error)

    def _path(self, id: str) -> Path | None:
        typed = self.query_one(f"#{id}", Input).value.strip()
        return expand_user(Path(typed)) if typed else None

    @on(Button.Pressed, "#import")
    @on(Input.Submitted)
    def _import(self) -> None:
        path = self._path("path") if not self._reason() else None
        if path:
            name = self.query_one("#name", Input).value.strip() or path.resolve().stem
            self.dismiss(ImportChoice(path, self._path("model"), name, self.query_one("#keep", Select).value is True))
