"""The frame of all screens: the state of the home, the pipeline, the keys, toasts, dialogs, themes and small terminals."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from textual.binding import Binding
from textual.color import Color
from textual.widgets import Input, TextArea
from textual.widgets._footer import FooterKey

from conself_local.round import process as round_process
from tests.tui.conftest import press, settle, text_of, toasts_of
from tests.tui.states import rewind
from tui.app import SCREEN_TYPES, ConselfApp
from tui.design import ACTIVE, BAD, GOOD, STYLE_OF_SIGN, WARN
from tui.screens.base import BaseScreen
from tui.screens.problem import ProblemScreen
from tui.widgets.ask_dialog import Ask
from tui.widgets.nav_bar import NavBar
from tui.widgets.panel import Panel

TUI = Path(__file__).parents[2] / "tui"
MOST_KEYS = 7


@pytest.mark.screen
async def test_every_screen_has_the_state_of_the_home_and_few_keys(app: ConselfApp) -> None:
    async with app.run_test(size=(140, 40)) as pilot:
        for key in "123456789":
            await press(pilot, key)
            text = text_of(app)
            assert "✓ round 1: adapter 1 kept, no measurable change on held-out problems" in text, key
            assert "2 ✓ Round" in text and "6 ✓ Evaluation" in text and "8 ★ Adapters" in text
            keys = [k for k in app.screen.query(FooterKey) if k.key != "ctrl+p"]
            assert 2 <= len(keys) <= MOST_KEYS and "palette" not in text, (key, [k.description for k in keys])


@pytest.mark.screen
async def test_a_small_terminal_has_the_pipeline_in_one_line_and_the_state_in_a_border(app: ConselfApp) -> None:
    async with app.run_test(size=(80, 24)) as pilot:
        for key in "13456789":
            await press(pilot, key)
            first = text_of(app).splitlines()[0]
            assert "2✓Round" in first and "9 Settings" in first and len(first.rstrip()) <= 80, key
            assert "round 1: adapter 1" in str(app.screen.query(Panel).first().border_title), key
            keys = [k.description for k in app.screen.query(FooterKey)]
            assert "Quit" in text_of(app).splitlines()[-1] and len(keys) <= MOST_KEYS, (key, keys)


async def test_the_pipeline_shows_where_a_running_round_is(app: ConselfApp) -> None:
    with app.app_state.reading() as store:
        rewind(store, "training")
    async with app.run_test(size=(140, 40)) as pilot:
        with app.app_state.home.lock():
            await press(pilot, "3")
            text = text_of(app)
            assert "▶ round 1 is running" in text and "4 ✓ Pairs" in text and "5 ▶ Training" in text
            assert "6 · Evaluation" in text
        await press(pilot, "r")
        assert "! round 1 is not finished" in text_of(app) and "5 ! Training" in text_of(app)


async def test_f_keys_open_screens_from_inside_text_fields(app: ConselfApp) -> None:
    """Prevent a regression: digits are typed into a field, so no key led out of it but Escape."""
    async with app.run_test(size=(100, 30)) as pilot:
        await press(pilot, "7", "i")
        assert isinstance(app.screen.focused, TextArea)
        await press(pilot, "3")
        assert app.current_mode == "playground", "a digit is text in a field"
        assert any(key.description == "Leave the field" for key in app.screen.query(FooterKey))
        await press(pilot, "f3")
        assert app.current_mode == "problems"
        await press(pilot, "slash")
        assert isinstance(app.screen.focused, Input)
        await press(pilot, "escape", "4")
        assert app.current_mode == "pairs"


@pytest.mark.screen
async def test_a_question_keeps_the_screen_and_a_list_gives_way(app: ConselfApp) -> None:
    async with app.run_test(size=(100, 30)) as pilot:
        await press(pilot, "8", "delete", "f3", "3")
        assert app.current_mode == "adapters" and isinstance(app.screen, Ask)
        await press(pilot, "escape", "question_mark", "f3")
        assert app.current_mode == "problems"
        await press(pilot, "w", "f4")
        assert app.current_mode == "pairs"


def _note(calls: list[bool]) -> bool:
    calls.append(True)
    return True


@pytest.mark.screen
async def test_quitting_asks_with_three_answers_and_escape_stays(app: ConselfApp) -> None:
    """Prevent a regression: Escape in the question stopped the round."""
    stopped: list[bool] = []
    async with app.run_test(size=(100, 30)) as pilot:
        await settle(pilot)
        with app.app_state.home.lock(), pytest.MonkeyPatch.context() as patched:
            patched.setattr(round_process, "stop", lambda home: _note(stopped))
            for leave, stay in (("q", "escape"), ("q", "enter"), ("ctrl+q", "escape")):
                await press(pilot, leave, stay)
                assert app.return_code is None and not isinstance(app.screen, Ask) and not stopped, stay
            await press(pilot, "q", "x")
        assert stopped and app.return_code == 0


@pytest.mark.screen
async def test_keeping_the_round_closes_only_the_screens(app: ConselfApp) -> None:
    async with app.run_test(size=(100, 30)) as pilot:
        await settle(pilot)
        with app.app_state.home.lock():
            await press(pilot, "q", "k")
        assert app.return_code == 0


@pytest.mark.screen
@pytest.mark.parametrize("screen", ["2", "5"])
async def test_stopping_asks_and_escape_does_not_stop(screen: str, app: ConselfApp) -> None:
    """Prevent a regression: x stopped the round at once."""
    with app.app_state.reading() as store:
        rewind(store, "training")
    stopped: list[bool] = []
    async with app.run_test(size=(100, 30)) as pilot:
        await press(pilot, screen, "x")
        assert "nothing to stop" in toasts_of(app)
        with app.app_state.home.lock(), pytest.MonkeyPatch.context() as patched:
            patched.setattr(round_process, "stop", lambda home: _note(stopped))
            await press(pilot, "x", "escape")
            assert not stopped
            await press(pilot, "x")
            assert "Stop the round" in text_of(app) and "Let it run" in text_of(app)
            await press(pilot, "x")
        assert stopped and "everything stored is kept" in toasts_of(app)


def test_a_key_means_the_same_on_every_screen() -> None:
    meanings: dict[str, set[str]] = {}
    screens: list[type[BaseScreen]] = [*SCREEN_TYPES, ProblemScreen]
    for screen in screens:
        for kind in screen.__mro__:
            for binding in kind.__dict__.get("BINDINGS", []):
                if isinstance(binding, Binding):
                    for key in binding.key.split(","):
                        meanings.setdefault(key, set()).add(binding.action)
    assert meanings["x"] == {"stop"} and meanings["a"] == {"decide('accepted')"} and meanings["space"] == {"leave_out"}
    # Start continues with the same key, and import and task both go into what takes something in
    assert (
        meanings["s"] == {"start"} and meanings["m"] <= {"measure", "more"} and meanings["i"] == {"import", "to_task"}
    )
    assert not {"d", "h"} & set(meanings)


def test_no_colour_is_named_in_code() -> None:
    """Prevent a regression: `ansi_dark` and colour names cannot be read on a light theme."""
    named = re.compile(r"[\"'](bold )?(red|green|blue|yellow|cyan|magenta|white|black|ansi_\w+|bright_\w+)[\"']")
    for path in (*TUI.rglob("*.py"), TUI / "app.tcss"):
        text = path.read_text()
        assert not named.search(text), path
        assert not re.search(r": (red|green|blue|yellow|white|black|#[0-9a-f]{3,6});", text), path


def _contrast(one: Color, other: Color) -> float:
    """Return the contrast ratio of WCAG 2, from 1 to 21."""
    lights = []
    for colour in (one, other):
        parts = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in colour.normalized]
        lights.append(0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2])
    return (max(lights) + 0.05) / (min(lights) + 0.05)


@pytest.mark.parametrize("theme", ["textual-dark", "textual-light", "nord", "gruvbox", "solarized-light"])
def test_signs_can_be_read_in_every_theme(theme: str) -> None:
    app = ConselfApp.__new__(ConselfApp)
    super(ConselfApp, app).__init__()
    app.theme = theme
    background = Color.parse(app.theme_variables["background"])
    for style in {*STYLE_OF_SIGN.values(), GOOD, WARN, BAD, ACTIVE} - {"$foreground 60%"}:
        colour = Color.parse(app.theme_variables[style.removeprefix("$")])
        assert _contrast(background, colour) > 2.5, (theme, style)


@pytest.mark.screen
async def test_the_theme_changes_by_a_key_on_every_screen(app: ConselfApp) -> None:
    async with app.run_test(size=(100, 30)) as pilot:
        await press(pilot, "5", "t")
        assert app.theme == "textual-light" and "textual-light" in toasts_of(app)


@pytest.mark.screen
async def test_f10_makes_a_panel_fill_the_screen_and_gives_it_back(app: ConselfApp) -> None:
    async with app.run_test(size=(100, 30)) as pilot:
        await press(pilot, "3", "f10")
        assert isinstance(app.screen.maximized, Panel) and app.screen.maximized.id == "list"
        await press(pilot, "f10")
        assert app.screen.maximized is None


@pytest.mark.screen
async def test_a_click_in_the_pipeline_opens_a_screen(app: ConselfApp) -> None:
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        at = text_of(app).splitlines()[0].index("Problems")
        await pilot.click(NavBar, offset=(at + 2, 0))
        await settle(pilot)
        assert app.current_mode == "problems"
