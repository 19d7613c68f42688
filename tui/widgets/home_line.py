"""Show in one line how the home is, and on the right which model and how much of this computer there is."""

from __future__ import annotations

from textual.content import Content
from textual.reactive import reactive

from tui.design import MUTED
from tui.widgets.plain import Plain


class HomeLine(Plain):
    """The first line of every screen; a terminal too narrow for it shows `state` in the border of the first panel."""

    DEFAULT_CSS = "HomeLine { height: 1; text-wrap: nowrap; text-overflow: ellipsis; }"

    state: reactive[Content] = reactive(Content(""))
    computer: reactive[str] = reactive("")

    def render(self) -> Content:
        left = Content.assemble((" conself  ", "bold"), self.state)
        right = Content.styled(f"{self.computer} ", MUTED)
        room = self.size.width - left.cell_length - right.cell_length
        return left if room < 2 else Content.assemble(left, " " * room, right)
