"""Draw a table of any number of rows, but only the rows in view: 25,000 rows cost as much as 25."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from rich.segment import Segment
from rich.style import Style
from rich.text import Text
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.reactive import reactive
from textual.scroll_view import ScrollView
from textual.strip import Strip

from conself_local.foreign_text import shown

Cells = Sequence[str]


class BigTable(ScrollView, can_focus=True, inherit_bindings=False):
    """A table whose `cells` function returns the texts of a row, and is called only when that row is drawn.

    `columns` holds (title, width in characters). The first line shows the titles. The table posts `Chosen` on Enter or
    on a click on the row under the cursor, and `Moved` when the cursor moves.
    """

    DEFAULT_CSS = """
    BigTable { height: 1fr; }
    BigTable:focus { border-left: thick $accent; }
    BigTable { border-left: thick $surface; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", "Up", show=False),
        Binding("down,j", "move(1)", "Down", show=False),
        Binding("pageup", "page(-1)", "Page up", show=False),
        Binding("pagedown", "page(1)", "Page down", show=False),
        Binding("home", "first", "First", show=False),
        Binding("end", "last", "Last", show=False),
        Binding("enter", "choose", "Open"),
    ]

    cursor: reactive[int] = reactive(0)

    class OfRow(Message):
        """A message about one row of this table."""

        def __init__(self, control: BigTable, row: Any) -> None:
            super().__init__()
            self._control, self.row = control, row

        @property
        def control(self) -> BigTable:
            return self._control

    class Chosen(OfRow):
        """Enter was pressed, or the row under the cursor was clicked."""

    class Moved(OfRow):
        """Another row came under the cursor, or the row under it was replaced."""

    def __init__(
        self, columns: Sequence[tuple[str, int]], cells: Callable[[Any], Cells], *, id: str | None = None
    ) -> None:
        super().__init__(id=id)
        self._columns = columns
        self._cells = cells
        self._rows: Sequence[Any] = ()

    @property
    def row(self) -> Any | None:
        """The row under the cursor, or None if the table is empty."""
        return self._rows[self.cursor] if self._rows else None

    @property
    def rows(self) -> Sequence[Any]:
        """All rows, whether in view or not."""
        return self._rows

    def set_rows(self, rows: Sequence[Any]) -> None:
        """Replace all rows; the cursor keeps its position if there are enough rows."""
        self._rows = rows
        self.virtual_size = Size(0, len(rows) + 1)
        before = self.cursor
        self.cursor = min(self.cursor, max(0, len(rows) - 1))
        if rows and self.cursor == before:  # another row may be at this position now
            self.post_message(self.Moved(self, self.row))
        self.refresh()

    def render_line(self, y: int) -> Strip:
        width = self.size.width
        if y == 0:
            return self._strip(
                self._line([title for title, _ in self._columns], width), width, self.rich_style + Style(bold=True)
            )
        at = y - 1 + self.scroll_offset.y
        if at >= len(self._rows):
            return Strip.blank(width, self.rich_style)
        style = self.rich_style + Style(reverse=True) if at == self.cursor else self.rich_style
        return self._strip(self._line(self._cells(self._rows[at]), width), width, style)

    def _strip(self, text: str, width: int, style: Style) -> Strip:
        return Strip([Segment(text, style)]).adjust_cell_length(width, style)

    def _line(self, cells: Cells, width: int) -> str:
        parts = []
        for (_, size), cell in zip(self._columns, cells, strict=True):
            text = Text(shown(cell.replace("\n", " "), lines=False))
            text.truncate(max(1, size), overflow="ellipsis", pad=True)
            parts.append(text.plain)
        return " ".join(parts)[: max(0, width)]

    def validate_cursor(self, value: int) -> int:
        return max(0, min(value, len(self._rows) - 1))

    def watch_cursor(self) -> None:
        self.scroll_to_region(Region(0, self.cursor, 1, 2), animate=False, force=True)
        self.refresh()
        if self._rows:
            self.post_message(self.Moved(self, self.row))

    def action_move(self, by: int) -> None:
        self.cursor += by

    def action_page(self, by: int) -> None:
        self.cursor += by * max(1, self.size.height - 2)

    def action_first(self) -> None:
        self.cursor = 0

    def action_last(self) -> None:
        self.cursor = len(self._rows) - 1

    def action_choose(self) -> None:
        if self._rows:
            self.post_message(self.Chosen(self, self.row))

    def on_click(self, event: events.Click) -> None:
        at = event.y - 1 + self.scroll_offset.y
        if event.y and at < len(self._rows):
            if at == self.cursor:
                self.action_choose()
            self.cursor = at
