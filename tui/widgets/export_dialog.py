"""Ask how an adapter is to be exported: as what, in which number format, to which file, and what of it will be kept."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.widgets import Button, Input, Select

from conself_local.adapters.export import ExportFormat
from conself_local.errors import ConselfError
from conself_local.home import expand_user
from conself_local.model_files.converted_weights import AUTOMATIC, FORMAT_CHOICES, LOSSLESS_FORMATS
from tui.design import BAD, DONE, FAILED, GOOD, signed
from tui.widgets.dialog import dialog_box
from tui.widgets.plain import Plain, PlainLabel, title

FORMS: dict[ExportFormat, tuple[str, str]] = {
    "merged": ("one file: the model with the adapter in it", ".gguf"),
    "gguf-lora": ("the adapter alone, for llama.cpp", ".adapter.gguf"),
    "peft": ("the adapter alone, a PEFT folder", "-peft"),
    "mlx": ("the adapter alone, an mlx-lm folder", "-mlx"),
}
"""Form -> what it is, and the end of the proposed name."""


@dataclass(frozen=True)
class ExportChoice:
    """What was chosen."""

    form: ExportFormat
    number_format: str
    target: Path


def what_is_kept(form: ExportFormat, number_format: str) -> str:
    """Return in one sentence what of the adapter the written file will hold."""
    if form != "merged":
        return "Kept: all of it. The adapter is written as it is, and needs the model beside it."
    if number_format in LOSSLESS_FORMATS:
        return f"Kept: most. {number_format} is fine enough; the file is larger than the model's own."
    if number_format == AUTOMATIC:
        return (
            "Kept: at least half, if a format can. The file is written in the model's own format and measured after "
            "writing; if less is kept, it is written with more bits."
        )
    return (
        "Kept: what the few bits of this format can hold. The file is measured after writing, and the result says how "
        "much that is; if too little is left, choose BF16 or the adapter alone."
    )


class ExportDialog(ModalScreen[ExportChoice | None]):
    """A form, dismissed with the choice, or with None on Escape, which writes nothing."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss(None)", "Cancel")]

    def __init__(self, name: str, folder: Path) -> None:
        super().__init__()
        self._adapter_name, self._folder = name, folder

    def compose(self) -> ComposeResult:
        with dialog_box(f"Export {self._adapter_name}", "Tab next field   Esc writes nothing"):
            yield PlainLabel("As", classes="label")
            yield Select(
                [(title(what), form) for form, (what, _) in FORMS.items()],
                value="merged",
                allow_blank=False,
                id="form",
                compact=True,
            )
            with Vertical(id="number-row"):
                yield PlainLabel("Number format (auto: the smallest that keeps the gain)", classes="label")
                yield Select(
                    [(title(name), name) for name in FORMAT_CHOICES],
                    value=AUTOMATIC,
                    allow_blank=False,
                    id="number",
                    compact=True,
                )
            yield PlainLabel("To", classes="label")
            yield Input(str(self._folder / f"{self._adapter_name}.gguf"), id="target", compact=True)
            yield Plain("", id="reason")
            yield Plain("", id="kept")
            with Horizontal(classes="buttons"):
                yield Button("Export", id="export", variant="primary", compact=True)

    def on_mount(self) -> None:
        self._check()

    @property
    def _form(self) -> ExportFormat:
        form: ExportFormat = self.query_one("#form", Select).value  # type: ignore[assignment]
        return form

    @on(Select.Changed, "#form")
    def _form_changed(self) -> None:
        field = self.query_one("#target", Input)
        ends = [end for _, end in FORMS.values()]
        if any(field.value == str(self._folder / f"{self._adapter_name}{end}") for end in ends):
            field.value = str(self._folder / f"{self._adapter_name}{FORMS[self._form][1]}")
        self.query_one("#number-row").display = self._form == "merged"
        self._check()

    @on(Select.Changed, "#number")
    @on(Input.Changed, "#target")
    def _check(self) -> None:
        """Say whether the file can be written there, and what it will hold."""
        number = str(self.query_one("#number", Select).value)
        self.query_one("#kept", Plain).update(what_is_kept(self._form, number))
        reason = self._reason()
        line = self.query_one("#reason", Plain)
        line.update(signed(FAILED, reason, BAD) if reason else signed(DONE, "can be written", GOOD))
        self.query_one("#export", Button).disabled = bool(reason)

    def _reason(self) -> str:
        """Return why nothing can be written there; empty if it can."""
        try:
            target = expand_user(Path(self.query_one("#target", Input).value.strip()))
            if target.exists():
                return "there is a file or folder of this name already; nothing is overwritten"
            return "" if target.parent.is_dir() else "there is no such folder"
        except ConselfError as error:
            return error.message
        except (OSError, ValueError) as error:
            return str(error)

    @on(Button.Pressed, "#export")
    @on(Input.Submitted, "#target")
    def _export(self) -> None:
        if not self._reason():
            target = expand_user(Path(self.query_one("#target", Input).value.strip()))
            self.dismiss(ExportChoice(self._form, str(self.query_one("#number", Select).value), target))
