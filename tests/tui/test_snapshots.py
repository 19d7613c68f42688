"""Whole screens as SVG, at the smallest and at a usual size, on a store that a real round made. `pytest --snapshot-update` renews them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest
from textual.pilot import Pilot

from tests.tui.conftest import press
from tui.app import ConselfApp

pytestmark = pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="drawn on one Python only")
KEYS = {
    "round": ["2"], "problems": ["3", "o"], "problem": ["3", "o", "enter"], "difference": ["3", "o", "enter", "d"], "pairs": ["4"],
    "training": ["5"], "evaluation": ["6"], "help": ["2", "question_mark"],
}  # fmt: skip


@pytest.mark.parametrize("size", [(80, 24), (140, 40)], ids=["80x24", "140x40"])
@pytest.mark.parametrize("name", KEYS)
def test_screen(name: str, size: tuple[int, int], app: ConselfApp, snap_compare: Callable[..., Any]) -> None:
    async def go(pilot: Pilot[None]) -> None:
        await press(pilot, *KEYS[name])
        pilot.app.screen.set_focus(None)
        await pilot.pause()

    assert snap_compare(app, terminal_size=size, run_before=go)
