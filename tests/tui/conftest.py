"""The app on a copy of a store that a real round made (`make_round.py`), and what drives it."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import Static

from conself_local.home import Home
from conself_local.store.store import Store
from tui.app import ConselfApp
from tui.app_state import AppState

REAL_ROUND = Path(__file__).parent / "real_round.db"


@pytest.fixture
def real_home(tmp_path: Path) -> Home:
    shutil.copy(REAL_ROUND, tmp_path / "conself.db")
    return Home(tmp_path)


@pytest.fixture
def app(real_home: Home) -> Iterator[ConselfApp]:
    with Store(real_home.database) as store:
        yield ConselfApp(AppState(real_home, store))


@pytest.fixture
def empty_app(tmp_path: Path) -> Iterator[ConselfApp]:
    home = Home(tmp_path)
    with Store(home.database) as store:
        yield ConselfApp(AppState(home, store))


async def settle(pilot: Pilot[None]) -> None:
    """Until what was asked for has been loaded and shown."""
    for _ in range(2):
        await pilot.pause()
        await pilot.app.workers.wait_for_complete()
        await pilot.pause()


async def press(pilot: Pilot[None], *keys: str) -> None:
    for key in keys:
        await pilot.press(key)
        await settle(pilot)


def text_of(app: ConselfApp, selector: str = "") -> str:
    """Everything on the screen, or in one Static."""
    if selector:
        return str(app.screen.query_one(selector, Static).render())
    return "\n".join("".join(segment.text for segment in strip) for strip in app.screen._compositor.render_strips())


def wait_for(condition: Callable[[], object], seconds: float = 60) -> None:
    """For what another process does."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)
