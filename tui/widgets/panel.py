"""Frame a part of a screen: a titled border that says what is inside and how much, and which keys act on it."""

from __future__ import annotations

from typing import ClassVar

from textual.containers import Vertical
from textual.content import Content
from textual.widget import Widget

from tui.widgets.plain import title


class Panel(Vertical):
    """A frame around widgets; `app.tcss` draws it brighter while one of them has the focus. F10 enlarges it."""

    ALLOW_MAXIMIZE: ClassVar[bool | None] = True

    def __init__(
        self,
        *children: Widget,
        heading: str | Content = "",
        keys: str | Content = "",
        id: str | None = None,
        classes: str | None = None,
    ) -> None:
        super().__init__(*children, id=id, classes=classes)
        self._heading: str | Content = heading
        self._aside: str | Content = ""
        self._drawn = self._keys = Content("")
        self.set_heading(heading)
        self.set_keys(keys)

    def set_heading(self, heading: str | Content) -> None:
        """Show what is inside, and how much, at the left of the upper border."""
        self._heading = heading
        self._draw()

    def set_aside(self, aside: str | Content) -> None:
        """Show a second text after the heading; small terminals have the state of the home there."""
        self._aside = aside
        self._draw()

    def set_keys(self, keys: str | Content) -> None:
        """Show keys or a result at the right of the lower border."""
        if (safe := _safe(keys)) != self._keys or safe.spans != self._keys.spans:
            self._keys = safe
            self.border_subtitle = safe

    def _draw(self) -> None:
        parts = [_safe(part) for part in (self._heading, self._aside) if part]
        drawn = Content(" ── ").join(parts) if parts else Content("")
        if drawn != self._drawn or drawn.spans != self._drawn.spans:  # a new title draws the whole panel again
            self._drawn = drawn
            self.border_title = drawn


def _safe(text: str | Content) -> Content:
    return title(text) if isinstance(text, str) else text
