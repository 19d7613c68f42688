"""Show the screens with their keys, and a sign for how far each step of the round is; a click opens a screen."""

from __future__ import annotations

from collections.abc import Mapping

from textual.content import Content
from textual.events import Click
from textual.message import Message
from textual.reactive import reactive

from tui.design import MUTED, STYLE_OF_SIGN
from tui.widgets.plain import Plain

SCREENS = (
    ("1", "start"),
    ("2", "round"),
    ("3", "problems"),
    ("4", "pairs"),
    ("5", "training"),
    ("6", "evaluation"),
    ("7", "playground"),
    ("8", "adapters"),
    ("9", "settings"),
)
_SHORT = {"training": "Train", "evaluation": "Judge", "playground": "Try"}
"""Names for terminals of 80 columns; the other names are short enough."""


class NavBar(Plain):
    """The bar of screens: the pipeline from the start to the adapters, with the present screen underlined."""

    DEFAULT_CSS = "NavBar { height: 1; }"

    signs: reactive[Mapping[str, str]] = reactive(dict)
    """Screen -> sign of its step; a screen without one has none."""

    class Chosen(Message):
        """The screen `name` was clicked."""

        def __init__(self, control: NavBar, name: str) -> None:
            super().__init__()
            self._control, self.name = control, name

        @property
        def control(self) -> NavBar:
            return self._control

    def __init__(self, current: str) -> None:
        super().__init__()
        self._current = current

    def on_click(self, event: Click) -> None:
        at = 0
        for name, item in self._items():
            width = item.cell_length
            if at <= event.x < at + width:
                self.post_message(self.Chosen(self, name))
            at += width

    def render(self) -> Content:
        return Content("").join(item for _, item in self._items())

    def _items(self) -> list[tuple[str, Content]]:
        """Return (screen, its text with the gap before it), with full names if they fit."""
        for short, gap in ((False, "   "), (False, "  "), (True, " ")):
            items = [(name, self._item(key, name, short, gap)) for key, name in SCREENS]
            if sum(item.cell_length for _, item in items) <= self.size.width:
                break
        return items

    def _item(self, key: str, name: str, short: bool, gap: str) -> Content:
        sign = self.signs.get(name, "")
        between = sign or " " if short else f" {sign} " if sign else " "
        here = name == self._current
        shown = _SHORT.get(name, name.capitalize()) if short else name.capitalize()
        return Content.assemble(
            gap if key != "1" or not short else "",
            (key, MUTED),
            (between, STYLE_OF_SIGN.get(sign, "")),
            (shown, "bold underline $text" if here else ""),
        )
