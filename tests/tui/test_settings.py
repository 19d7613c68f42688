"""The form of the settings changes, checks, finds and keeps them by keys alone; a round's own settings stay as they are."""

from __future__ import annotations

import pytest
from textual.widgets import Input

from conself_local.round.presets import find_preset
from conself_local.settings import GROUPS
from tests.tui.conftest import press, settle, text_of, toasts_of
from tui.app import ConselfApp
from tui.widgets.big_table import BigTable

pytestmark = pytest.mark.screen
SIZE = (140, 40)


async def _find(pilot, words: str) -> None:  # type: ignore[no-untyped-def]
    await press(pilot, "slash")
    pilot.app.screen.query_one("#find", Input).value = words
    await press(pilot, "enter")


async def test_the_learning_rate_is_found_changed_marked_and_taken_back(app: ConselfApp) -> None:
    async with app.run_test(size=SIZE) as pilot:
        await press(pilot, "9")
        await _find(pilot, "learning rate")
        assert "learning_rate" in text_of(app, "#about") and "Allowed" in text_of(app, "#about")
        await press(pilot, "enter", *"2")
        assert "✗" in text_of(app, "#reason")
        await press(pilot, "enter")
        assert "Learning rate" in toasts_of(app) and not app.app_state.choices.changes, "a wrong value is not kept"
        app.screen.query_one("#value", Input).value = "5e-5"
        await press(pilot, "enter")
        assert app.app_state.choices.changes == {"training.learning_rate": "5e-5"}
        assert "• laptop:" in text_of(app, "#about") and "1 changed" in text_of(app)
        await press(pilot, "1")
        assert "• 1 setting changed: learning rate" in text_of(app, "#changes")
        await press(pilot, "9", "delete")
        assert not app.app_state.choices.changes


async def test_escape_leaves_a_value_as_it_was_and_enter_turns_choices(app: ConselfApp) -> None:
    async with app.run_test(size=SIZE) as pilot:
        await press(pilot, "9", "down", "enter", "7", "escape")
        assert not app.app_state.choices.changes and app.screen.focused is app.screen.query_one("#fields")
        await press(pilot, "up", "enter")
        assert app.app_state.choices.changes == {"sampling.prompt": "plain"}


async def test_settings_that_contradict_each_other_are_named_and_no_round_starts(app: ConselfApp) -> None:
    async with app.run_test(size=SIZE) as pilot:
        await press(pilot, "9")
        await _find(pilot, "training.max_tokens")
        await press(pilot, "enter")
        app.screen.query_one("#value", Input).value = "64"
        await settle(pilot)
        assert "! training.max_tokens must be at least" in text_of(app, "#reason")
        await press(pilot, "enter")
        assert "must be at least" in text_of(app, "#message")
        await press(pilot, "1")
        assert "must be at least" in text_of(app, "#ready") and app.screen.query_one("#start").disabled


async def test_presets_are_kept_and_chosen(app: ConselfApp) -> None:
    async with app.run_test(size=SIZE) as pilot:
        await press(pilot, "9", "enter", "ctrl+s")
        await press(pilot, *"Mine", "enter")
        assert "cannot be the name of a preset" in toasts_of(app)
        await press(pilot, "ctrl+s", *"mine", "enter")
        assert find_preset(app.app_state.home, "mine").changes == {"sampling.prompt": "plain"}
        assert app.app_state.choices.preset == "mine" and not app.app_state.choices.changes
        await press(pilot, "g", "2")
        assert app.app_state.choices.preset == "laptop"


async def test_the_latest_rounds_settings_are_shown_and_not_changed(app: ConselfApp) -> None:
    async with app.run_test(size=SIZE) as pilot:
        await press(pilot, "9", "v")
        assert "round 1, as it ran: read only" in text_of(app)
        await press(pilot, "down", "enter", "delete")
        assert "A round keeps its settings" in toasts_of(app) and not app.app_state.choices.changes


async def test_groups_are_reached_by_left_and_right(app: ConselfApp) -> None:
    async with app.run_test(size=(80, 24)) as pilot:
        await press(pilot, "9", "left")
        rows = app.screen.query_one("#fields", BigTable).rows
        assert {row.field.group for row in rows} == {list(GROUPS)[-1]}
        await press(pilot, "right")
        assert len(app.screen.query_one("#fields", BigTable).rows) > 40
