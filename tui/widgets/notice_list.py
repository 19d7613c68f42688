"""Draw notices of rounds as lines: a sign, the text, and when it was noticed."""

from __future__ import annotations

from collections.abc import Sequence

from textual.content import Content

from conself_local.store.store import Row
from tui.design import DONE, LOOK, MUTED, NOT_BEGUN, day, plain, signed

NOTHING = "Nothing was noticed."


def notice_lines(notices: Sequence[Row], *, with_round: bool = False) -> Content:
    """Return one line per notice; `!` is a warning, `·` a notice."""
    if not notices:
        return signed(DONE, NOTHING, MUTED)
    return Content("\n").join(_line(notice, with_round) for notice in notices)


def _line(notice: Row, with_round: bool) -> Content:
    where = f"round {notice['round_id']}, {notice['stage']}: " if with_round else f"{notice['stage']}: "
    sign = signed(LOOK if notice["severity"] == "warning" else NOT_BEGUN)
    return Content.assemble(sign, " ", (where, MUTED), plain(notice["text"]), (f"  {day(notice['at_utc'])}", MUTED))
