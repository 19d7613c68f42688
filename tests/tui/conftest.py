"""Fixtures for the app on a copy of a store that a real round made (`make_round.py`), and functions that drive it."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import Static
from textual.worker import WorkerCancelled

from conself_local.home import Home
from tui.app import ConselfApp
from tui.app_state import AppState

REAL_ROUND = Path(__file__).parent / "real_round.db"


@pytest.fixture
def real_home(tmp_path: Path) -> Home:
    """Return a home with a copy of the store that a real round made."""
    shutil.copy(REAL_ROUND, tmp_path / "conself.db")
    return Home(tmp_path)


@pytest.fixture
def app(real_home: Home) -> Iterator[ConselfApp]:
    """Yield the app on `real_home`."""
    with AppState(real_home) as app_state:
        yield ConselfApp(app_state)


@pytest.fixture
def empty_app(tmp_path: Path) -> Iterator[ConselfApp]:
    """Yield the app on a home without a round."""
    with AppState(Home(tmp_path)) as app_state:
        yield ConselfApp(app_state)


async def settle(pilot: Pilot[None]) -> None:
    """Wait until everything that was asked for has been loaded and shown."""
    await pilot.pause()
    while any(not worker.is_finished for worker in pilot.app.workers):
        with contextlib.suppress(WorkerCancelled):  # one that a later one replaced
            await pilot.app.workers.wait_for_complete()
        await pilot.pause()


async def press(pilot: Pilot[None], *keys: str) -> None:
    """Press the keys one after the other, and wait after each until the app has settled."""
    for key in keys:
        await pilot.press(key)
        await settle(pilot)


def text_of(app: ConselfApp, selector: str = "") -> str:
    """Return all text on the screen, or that of the one Static that the selector names."""
    if selector:
        return str(app.screen.query_one(selector, Static).render())
    return "\n".join("".join(segment.text for segment in strip) for strip in app.screen._compositor.render_strips())


def toasts_of(app: ConselfApp) -> str:
    """Return the texts of all toasts that are on the screen."""
    return "\n".join(notification.message for notification in app._notifications)


def wait_for(condition: Callable[[], object], seconds: float = 60) -> None:
    """Wait until the condition holds, for the work of another process; fail after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)
