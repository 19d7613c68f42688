"""Make the box of a dialog: a frame with its heading above and its keys below; `app.tcss` draws it."""

from __future__ import annotations

from textual.containers import Vertical

from tui.widgets.plain import title


def dialog_box(heading: str = "", keys: str = "", *, large: bool = False) -> Vertical:
    """Return an empty box; `large` lets it take most of the terminal."""
    box = Vertical(classes="dialog -large" if large else "dialog")
    box.border_title, box.border_subtitle = title(heading), title(keys)
    return box
