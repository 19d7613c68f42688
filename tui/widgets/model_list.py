"""Show the models on this computer with a mark at the chosen one; Enter or space chooses the one under the cursor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from conself_local.foreign_text import shown
from conself_local.machine.room import size_text
from conself_local.model_files.installed import FoundModel
from tui.design import BAD, DONE, FAILED, GOOD, LOOK, MUTED, WARN

CHOSEN, OTHER = "●", "○"


class ModelList(OptionList):
    """The models that were found; the id of an option is its path."""

    DEFAULT_CSS = "ModelList { height: auto; max-height: 8; }"
    BINDINGS: ClassVar[list[BindingType]] = [Binding("space", "select", "Choose", show=False)]

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id, markup=False, compact=True)
        self._found: Sequence[FoundModel] = ()

    def show(self, found: Sequence[FoundModel], chosen: str) -> None:
        """Show the models; `chosen` is the path of the one that a round would take, the first one if it is empty."""
        self._found = found
        self.mark(chosen)

    def mark(self, chosen: str) -> None:
        """Move the mark; the cursor stays, or goes to the chosen model if it was nowhere."""
        at = self.highlighted
        paths = [str(model.path) for model in self._found]
        now = 0 if not chosen else paths.index(chosen) if chosen in paths else None
        self.set_options(
            [
                Option(_line(model, i == now), id=path, disabled=model.file is None)
                for i, (model, path) in enumerate(zip(self._found, paths, strict=True))
            ]
        )
        if self._found:
            self.highlighted = at if at is not None else now or 0

    def holds(self, path: str) -> bool:
        """Return whether a model of this path is in the list; no path is the first model's."""
        return bool(self._found) and (not path or any(str(model.path) == path for model in self._found))


def _line(model: FoundModel, chosen: bool) -> Content:
    name = shown(f"{model.source}: {model.name}", lines=False)
    mark = (f"{CHOSEN if chosen else OTHER} ", "bold" if chosen else MUTED)
    if model.file is None:
        return Content.assemble(mark, name, (f"  {FAILED} {shown(model.exclusion_reason, lines=False)}", BAD))
    size = f"{model.file.weights / 1e6:,.0f} M"
    facts = f"{size:>8}  {shown(model.file.formats[0][0]):<7} {size_text(model.file.size_bytes):>9}  "
    trains = (f"{DONE} trains", GOOD) if not model.exclusion_reason else (f"{LOOK} samples only", WARN)
    return Content.assemble(mark, (f"{name:<32.60}  ", "bold" if chosen else ""), (facts, MUTED), trains)
