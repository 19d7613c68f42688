"""Draw notices of rounds as lines: a sign, the text, and when it was noticed."""

from __future__ import annotations

from collections.abc import Sequence

from textual.content import Content

from conself_local.round.notices import NoticeRow
from tui.design import DONE, LOOK, MUTED, NOT_BEGUN, day, plain, signed

NOTHING = "Nothing was noticed."


def notice_lines(notices: Sequence[NoticeRow], *, with_round: bool = False) -> Content:
    """Return one line per notice; `!` is a warning, `·` only tells."""
    if not notices:
        return signed(DONE, NOTHING, MUTED)
    return Content("\n").join(_line(notice, with_round) for notice in notices)


def _line(notice: NoticeRow, with_round: bool) -> Content:
    where = f"round {notice.round_id}, {notice.stage}: " if with_round else ""
    when = f"  {day(notice.at_utc)}" if notice.at_utc else ""
    return Content.assemble(
        signed(LOOK if notice.is_warning else NOT_BEGUN, "", ""), " ", (where, MUTED), plain(notice.text), (when, MUTED)
    )
