"""Show the names of the screens with their keys and mark the present one; a click opens a screen."""

from __future__ import annotations

from rich.text import Text
from textual.events import Click
from textual.message import Message

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


_SHORT_NAME = 5
"""The number of letters of each name if the full names do not fit."""


class NavBar(Plain):
    """The bar of screens in the first line."""

    DEFAULT_CSS = "NavBar { height: 1; }"

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
        for key, name in SCREENS:
            width = len(f" {key} {self._shown(name)}")
            if at <= event.x < at + width:
                self.post_message(self.Chosen(self, name))
            at += width

    def render(self) -> Text:
        text = Text(no_wrap=True)
        for key, name in SCREENS:
            text.append(f" {key} ", "dim")
            text.append(self._shown(name), "bold reverse" if name == self._current else "")
        return text

    def _shown(self, name: str) -> str:
        """Return the name, cut on a narrow terminal, in capitals if present, so that colour is not the only sign."""
        fits = sum(len(f" {key} {name}") for key, name in SCREENS) <= self.size.width
        text = name if fits else name[:_SHORT_NAME]
        return text.upper() if name == self._current else text
