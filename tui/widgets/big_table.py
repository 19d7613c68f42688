"""Draw a table of any number of rows, but only the rows in view: 25,000 rows cost as much as 25."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
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
from tui.design import MUTED

Cell = str | tuple[str, str]
"""The text of a cell, or (text, style): one of the styles of `design.py`."""
Cells = Sequence[Cell]


@dataclass(frozen=True)
class Column:
    """One column of a table."""

    title: str
    width: int
    """Characters; of a column that grows, the least."""
    right: bool = False
    """Whether it is aligned to the right, as numbers are."""
    grows: bool = False
    """Whether it takes the room that the others leave; at most one column of a table does."""
    from_width: int = 0
    """Least width of the table at which the column is shown."""


class BigTable(ScrollView, can_focus=True, inherit_bindings=False):
    """A table whose `cells` function returns the cells of a row, and is called only when that row is drawn.

    The first line shows the titles. The table posts `Chosen` on Enter or on a click on the row under the cursor, and
    `Moved` when the cursor moves.
    """

    DEFAULT_CSS = """
    BigTable {
        height: 1fr;
        & > .big-table--header { color: $text-muted; text-style: bold; }
        & > .big-table--success { color: $text-success; }
        & > .big-table--warning { color: $text-warning; }
        & > .big-table--error { color: $text-error; }
        & > .big-table--muted { color: $text-muted; }
        & > .big-table--primary { color: $text-primary; }
        & > .big-table--secondary { color: $text-secondary; }
        & > .big-table--accent { color: $text-accent; }
        & > .big-table--cursor {
            color: $block-cursor-blurred-foreground; background: $block-cursor-blurred-background; text-style: bold;
        }
        &:focus > .big-table--cursor { color: $block-cursor-foreground; background: $block-cursor-background; }
    }
    """
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        f"big-table--{name}"
        for name in ["header", "cursor", "success", "warning", "error", "muted", "primary", "secondary", "accent"]
    }
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", "Up", show=False),
        Binding("down,j", "move(1)", "Down", show=False),
        Binding("pageup", "page(-1)", "Page up", show=False),
        Binding("pagedown", "page(1)", "Page down", show=False),
        Binding("home", "first", "First", show=False),
        Binding("end", "last", "Last", show=False),
        Binding("enter", "choose", "Open", show=False),
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

    def __init__(self, columns: Sequence[Column], cells: Callable[[Any], Cells], *, id: str | None = None) -> None:
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

    def set_rows(self, rows: Sequence[Any], key: Callable[[Any], Any] | None = None) -> None:
        """Replace all rows; with `key`, the cursor stays on the row of the same key, else at the same position."""
        under = key(self.row) if key and self.row is not None else None
        self._rows = rows
        self.virtual_size = Size(0, len(rows) + 1)
        before = self.cursor
        at = next((i for i, row in enumerate(rows) if key(row) == under), before) if key else before
        self.cursor = min(at, max(0, len(rows) - 1))
        if rows and self.cursor == before:  # another row may be at this position now
            self.post_message(self.Moved(self, self.row))
        self.refresh()

    def set_columns(self, columns: Sequence[Column]) -> None:
        """Replace the columns; the next `set_rows` must bring rows for them."""
        self._columns = columns
        self.refresh()

    def render_line(self, y: int) -> Strip:
        width = self.size.width
        if y == 0:
            header = self.get_component_rich_style("big-table--header")
            return self._strip([column.title for column in self._columns], width, header)
        at = y - 1 + self.scroll_offset.y
        if at >= len(self._rows):
            return Strip.blank(width, self.rich_style)
        if at == self.cursor:
            cursor = self.get_component_rich_style("big-table--cursor")
            return self._strip(self._cells(self._rows[at]), width, cursor, plain=True)
        return self._strip(self._cells(self._rows[at]), width, self.rich_style)

    def _strip(self, cells: Cells, width: int, style: Style, *, plain: bool = False) -> Strip:
        """Return one line; `plain` draws every cell in the style of the line, as the one under the cursor is."""
        fits = [column.from_width <= width for column in self._columns]
        taken = sum(column.width + 1 for column, shows in zip(self._columns, fits, strict=True) if shows) - 1
        segments = []
        for column, cell, shows in zip(self._columns, cells, fits, strict=True):
            if shows:
                text, name = cell if isinstance(cell, tuple) else (cell, "")
                size = column.width + (max(0, width - taken) if column.grows else 0)
                own = style if plain or not name else self._cell_style(name)
                segments += [Segment(_fit(text, size, column.right), own), Segment(" ", style)]
        return Strip(segments[:-1]).adjust_cell_length(width, style)

    def _cell_style(self, name: str) -> Style:
        part = "muted" if name == MUTED else name.removeprefix("$text-")
        return self.get_component_rich_style(f"big-table--{part}")

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


def _fit(cell: str, size: int, right: bool) -> str:
    """Return the text of a cell, exactly `size` columns wide."""
    text = Text(shown(cell.replace("\n", " "), lines=False))
    text.truncate(max(1, size), overflow="ellipsis")
    if right:
        return " " * max(0, size - text.cell_len) + text.plain
    text.truncate(max(1, size), overflow="ellipsis", pad=True)
    return text.plain
