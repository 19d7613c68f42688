"""Show text as it is: foreign text is never parsed as markup, and what is not printable is an escape.

`Plain` and `PlainLabel` replace Textual's `Static` and `Label`, which parse markup. `EscapeFilter` sees every line of
every widget before it goes to the terminal, so that a widget that forgets is harmless too.
"""

from __future__ import annotations

from typing import Any

from rich.segment import Segment
from textual.color import Color
from textual.content import Content
from textual.filter import LineFilter
from textual.visual import VisualType
from textual.widgets import Label, Static

from conself_local.foreign_text import encodable, shown


class _Escaped:
    """What `Plain` and `PlainLabel` share."""

    def __init__(self, content: VisualType = "", *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(_escaped(content), id=id, classes=classes, markup=False)  # type: ignore[call-arg]

    def update(self, content: VisualType = "", **options: Any) -> None:
        """Show other content; text that is not a str must have been escaped by the caller."""
        super().update(_escaped(content), **options)  # type: ignore[misc]


class Plain(_Escaped, Static):
    """A widget for text of any length."""


class PlainLabel(_Escaped, Label):
    """A widget as wide as its text."""


class EscapeFilter(LineFilter):
    """Replace what no terminal may receive by its escape; a line that grows is cut at its old width.

    encoding: that of the terminal; characters that it lacks become escapes too.
    """

    def __init__(self, encoding: str | None) -> None:
        super().__init__()
        self._encoding = encoding

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        """Return the segments of a line, made safe."""
        texts = [self._safe(segment.text) for segment in segments]
        if all(text == segment.text for text, segment in zip(texts, segments, strict=True)):
            return segments
        safe = [Segment(text, segment.style) for text, segment in zip(texts, segments, strict=True)]
        return Segment.adjust_line_length(safe, sum(segment.cell_length for segment in segments))

    def _safe(self, text: str) -> str:
        return text if text.isascii() and text.isprintable() else encodable(shown(text, lines=False), self._encoding)


def title(text: str) -> Content:
    """Return text for the title in a border, which Textual would parse as markup."""
    return Content(shown(text, lines=False))


def _escaped(content: VisualType) -> VisualType:
    return shown(content) if isinstance(content, str) else content
