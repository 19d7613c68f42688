"""Whole screens, drawn as SVG at the smallest and at a usual size, equal the stored ones.

The store is that of a real round. `pytest tests/tui/test_snapshots.py --snapshot-update` makes the stored screens
again.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Footer
from textual.widgets._footer import FooterKey

from tests.tui.conftest import press, settle
from tests.tui.hide_computer import another_computer, hide_this_computer
from tui.app import ConselfApp

pytestmark = [
    pytest.mark.screen,
    pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="the snapshots were drawn with Python 3.11"),
]
KEYS = {
    "round": ["2"],
    "problems": ["3", "o"],
    "problem": ["3", "o", "enter"],
    "notices": ["2", "w"],
    "pairs": ["4"],
    "training": ["5"],
    "evaluation": ["6"],
    "help": ["2", "question_mark"],
    "start": ["1"],
    "playground": ["7"],
    "adapters": ["8"],
    "settings": ["9"],
}


@pytest.mark.parametrize("size", [(80, 24), (140, 40)], ids=["80x24", "140x40"])
@pytest.mark.parametrize("name", KEYS)
def test_screen(name: str, size: tuple[int, int], app: ConselfApp, snap_compare: Callable[..., Any]) -> None:
    async def go(pilot: Pilot[None]) -> None:
        await press(pilot, *KEYS[name])
        hide_this_computer(app)
        pilot.app.screen.set_focus(None)
        await settle(pilot)
        while pilot.app.screen.query(Footer) and not pilot.app.screen.query(FooterKey):
            await pilot.pause(0.05)  # the keys are drawn again when the focus changes

    with another_computer():
        assert snap_compare(app, terminal_size=size, run_before=go)
