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
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from tests.tui.conftest import press
from tui.app import ConselfApp

pytestmark = [
    pytest.mark.screen,
    pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="the snapshots were drawn with Python 3.11"),
]
KEYS = {
    "round": ["2"],
    "problems": ["3", "o"],
    "problem": ["3", "o", "enter"],
    "difference": ["3", "o", "enter", "d"],
    "pairs": ["4"],
    "training": ["5"],
    "evaluation": ["6"],
    "help": ["2", "question_mark"],
    "start": ["1"],
    "playground": ["7"],
    "adapters": ["8"],
    "settings": ["9"],
}


def _hide_this_computer(app: ConselfApp) -> None:
    """Replace what differs from computer to computer by fixed text."""
    screen = app.screen
    for machine_lines in screen.query("#machine-lines").results(Static):
        machine_lines.update("Linux, 8 cores, 16.0 GiB of memory (9.1 GiB free), 200 GiB of disk free\nno GPU")
    for models in screen.query("#models").results(OptionList):
        models.set_options([Option("bundled: SmolLM2 135M Instruct\n  Q4_1, 92 MiB")])
    for values in screen.query("#values").results(Static):
        values.update(str(values.visual).replace(str(app.app_state.home.path), "/home/ada/.local/share/conself"))


@pytest.mark.parametrize("size", [(80, 24), (140, 40)], ids=["80x24", "140x40"])
@pytest.mark.parametrize("name", KEYS)
def test_screen(name: str, size: tuple[int, int], app: ConselfApp, snap_compare: Callable[..., Any]) -> None:
    async def go(pilot: Pilot[None]) -> None:
        await press(pilot, *KEYS[name])
        _hide_this_computer(app)
        pilot.app.screen.set_focus(None)
        await pilot.pause()

    assert snap_compare(app, terminal_size=size, run_before=go)
