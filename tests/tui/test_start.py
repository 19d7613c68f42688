"""The start screen shows what a round is made from, checks it while it is typed, and never overwrites a round unseen."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest
from textual.widgets import Button, Input, Select
from textual.widgets._footer import FooterKey

from conself_local.home import Home
from conself_local.model_files.bundled import bundled_model
from conself_local.model_files.model_file import load_model_file
from conself_local.round import forecast
from conself_local.round import process as round_process
from conself_local.round.choices import load_choices
from conself_local.round.cost import Rates
from tests.fakes.tiny_model import write_tiny_model
from tests.tui.conftest import press, settle, text_of, toasts_of
from tests.tui.states import rewind
from tui.app import ConselfApp

pytestmark = pytest.mark.screen
SIZE = (140, 40)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Keep the arguments of rounds that would be started, instead of starting them."""
    calls: list[list[str]] = []
    monkeypatch.setattr(round_process, "start", lambda home, arguments: calls.append(arguments))
    monkeypatch.setattr("tui.screens.looking._cautions", lambda *arguments: [])
    monkeypatch.setattr("tui.screens.looking._fault_of_adapter", lambda *arguments: "")
    return calls


async def test_one_key_starts_a_small_round_in_an_empty_home(empty_app: ConselfApp, started: list[list[str]]) -> None:
    async with empty_app.run_test(size=SIZE) as pilot:
        await settle(pilot)
        assert "one key starts" in text_of(empty_app, "#message") and empty_app.screen.focused is not None
        assert empty_app.screen.focused.id == "start" and "ready" in text_of(empty_app, "#ready")
        await press(pilot, "enter")
    assert len(started) == 1 and started[0][started[0].index("--limit") + 1] == "16"
    assert started[0].count("--benchmark") == 1


async def test_keys_alone_choose_a_model_and_16_problems_and_start(
    app: ConselfApp, started: list[list[str]], tmp_path: Path
) -> None:
    """Prevent a regression: a path that was typed and not submitted was ignored, and the bundled model was taken."""
    model = write_tiny_model(tmp_path / "mine.gguf").path
    async with app.run_test(size=SIZE) as pilot:
        await settle(pilot)
        await pilot.press("tab", *str(model))
        await pilot.pause(0.4)
        await settle(pilot)
        assert "✓ mine" in text_of(app, "#model-words")
        await press(pilot, "tab", "tab", "1", "6", "ctrl+s")
    arguments = started[0]
    assert arguments[arguments.index("--model") + 1] == str(model)
    assert arguments[arguments.index("--limit") + 1] == "16"
    kept = load_choices(app.app_state.home)
    assert kept and kept.model == str(model) and kept.limit == "16", "kept over restarts"


async def test_a_round_that_would_begin_with_a_missing_adapter_does_not_start(app: ConselfApp) -> None:
    async with app.run_test(size=SIZE) as pilot:
        await settle(pilot)
        assert "adapter.gguf is missing" in text_of(app, "#ready") and "Begin from" in text_of(app, "#ready")
        assert app.screen.query_one("#start", Button).disabled
        app.screen.query_one("#from", Select).value = "base"
        await settle(pilot)
        assert "missing" not in text_of(app, "#ready")


async def test_two_keys_start_one_round(
    app: ConselfApp, started: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prevent a regression: until the first round had taken the lock, a second key started another one."""

    def start(home: Home, arguments: list[str]) -> int:
        started.append(arguments)
        return os.getpid()

    monkeypatch.setattr(round_process, "start", start)
    async with app.run_test(size=SIZE) as pilot:
        await settle(pilot)
        await pilot.press("s", "s")
        await settle(pilot)
        assert app.current_mode == "round" and len(started) == 1
        await press(pilot, "s")
        assert len(started) == 1 and "already running or starting" in toasts_of(app)


async def test_inside_a_field_the_keys_at_the_bottom_are_those_that_act(app: ConselfApp) -> None:
    async with app.run_test(size=SIZE) as pilot:
        await settle(pilot)
        app.screen.query_one("#limit").focus()
        await settle(pilot)
        await pilot.pause(0.2)
        assert [key.key for key in app.screen.query(FooterKey)] == ["escape", "ctrl+s"]


async def test_a_wrong_choice_disables_the_button_with_the_reason(app: ConselfApp, started: list[list[str]]) -> None:
    async with app.run_test(size=SIZE) as pilot:
        await settle(pilot)
        button = app.screen.query_one("#start", Button)
        for field, wrong, right, said in (
            ("#model-path", "/none.gguf", "", "there is no model file"),
            ("#problems", "/none.jsonl", "", "/none.jsonl"),
            ("#limit", "0", "3", "how many problems"),
            ("#rounds", "x", "1", "rounds"),
        ):
            app.screen.query_one(field, Input).value = wrong
            await pilot.pause(0.4)
            await settle(pilot)
            assert button.disabled and said in text_of(app, "#ready"), field
            app.screen.query_one(field, Input).value = right
            await pilot.pause(0.4)
            await settle(pilot)
            assert not button.disabled, field
    assert not started


async def test_an_unfinished_round_continues_and_is_left_behind_only_after_a_question(
    app: ConselfApp, started: list[list[str]]
) -> None:
    with app.app_state.reading() as store:
        rewind(store, "sampling")
    async with app.run_test(size=SIZE) as pilot:
        await settle(pilot)
        assert "stopped at sample, 36 of 60" in text_of(app, "#unfinished-words")
        assert str(app.screen.query_one("#start", Button).label) == "Continue round 1"
        await press(pilot, "n", "escape", "s")
        assert started == [[]]
        await press(pilot, "1", "n", "n")
        assert str(app.screen.query_one("#start", Button).label) == "Start round 2"
        await press(pilot, "s")
    assert "--new" in started[1]


async def test_the_forecast_follows_every_choice_and_belongs_to_its_model(app: ConselfApp, tmp_path: Path) -> None:
    bundled = load_model_file(bundled_model())
    async with app.run_test(size=SIZE) as pilot:
        await settle(pilot)
        assert "f measures it" in text_of(app, "#forecast") and "8,532 answers   ?" in text_of(app, "#forecast")
        forecast._keep(app.app_state.home, bundled, Rates(tokens_per_second=500.0, seconds_per_pair=1.0))
        app.screen.query_one("#limit", Input).value = "10"
        await pilot.pause(0.4)
        await settle(pilot)
        assert "180 answers" in text_of(app, "#forecast") and "done by" in text_of(app, "#forecast")
        before = text_of(app, "#forecast")
        app.screen.query_one("#judge-held-out").focus()
        await press(pilot, "space")
        assert text_of(app, "#forecast") != before
        app.screen.query_one("#model-path", Input).value = str(write_tiny_model(tmp_path / "other.gguf").path)
        await pilot.pause(0.4)
        await settle(pilot)
        assert "f measures it" in text_of(app, "#forecast"), "never minutes from another model"


async def test_what_is_odd_is_asked_before_the_start(app: ConselfApp, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[list[str]] = []
    monkeypatch.setattr(round_process, "start", lambda home, arguments: calls.append(arguments))
    monkeypatch.setattr("tui.screens.looking._cautions", lambda *arguments: ["It is odd [/b]."])
    monkeypatch.setattr("tui.screens.looking._fault_of_adapter", lambda *arguments: "")
    async with app.run_test(size=SIZE) as pilot:
        await settle(pilot)
        await press(pilot, "s")
        assert "It is odd [/b]." in text_of(app) and not calls
        await press(pilot, "escape", "s", "s")
    assert len(calls) == 1


async def test_theme_and_choices_are_kept_over_restarts(app: ConselfApp) -> None:
    async with app.run_test(size=SIZE) as pilot:
        await settle(pilot)
        await press(pilot, "t")
        theme = app.theme
        assert "Theme" in toasts_of(app)
    kept = load_choices(app.app_state.home)
    assert (
        kept
        and kept.theme == theme
        and dataclasses.replace(kept, theme="") == dataclasses.replace(app.app_state.choices, theme="")
    )
