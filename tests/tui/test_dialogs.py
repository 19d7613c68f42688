"""Help, export and import: what is found, what is refused with its reason, and what is written."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual.widgets import Button, Input, Select

from conself_local.home import Home
from tests.fakes.home_of_rounds import make_home
from tests.fakes.random_adapter import write_home
from tests.fakes.tiny_model import write_tiny_model
from tests.tui.conftest import press, settle, text_of, toasts_of
from tui.app import SCREEN_TYPES, ConselfApp
from tui.app_state import AppState
from tui.screens.help import everything, help_text, matching
from tui.widgets.export_dialog import ExportDialog, what_is_kept
from tui.widgets.import_dialog import ImportDialog

SIZE = (100, 30)


@pytest.mark.screen
async def test_help_begins_with_the_present_screen_and_can_be_searched(app: ConselfApp) -> None:
    async with app.run_test(size=SIZE) as pilot:
        await press(pilot, "4", "question_mark")
        said = " ".join(text_of(app, "#help-text").split())
        assert said.startswith("Pairs") and "Space leaves a pair out" in said and "Playground" not in said
        await press(pilot, "tab")
        assert "Playground" in text_of(app, "#help-text") and "disagreement" in text_of(app, "#help-text")
        await press(pilot, "slash", *"entropy")
        assert "disagreement" in text_of(app, "#help-text") and "Con-DPO" not in text_of(app, "#help-text")
        app.screen.query_one("#find", Input).value = "no such word"
        await settle(pilot)
        assert "Nothing holds these words" in text_of(app, "#help-text")
        await press(pilot, "escape", "escape")
        assert app.current_mode == "pairs" and app.screen.query("#pairs")


def test_every_screen_has_help_and_no_line_is_too_long() -> None:
    sections = everything(SCREEN_TYPES)
    assert all(screen.HELP for screen in SCREEN_TYPES)
    lines = str(help_text(sections, 76)).splitlines()
    assert max(map(len, lines)) <= 76 and len(lines) > 60
    assert [s.heading for s in matching(sections, "delete ASKS")] == ["Keys, on the screens that have them"]


def test_what_an_export_keeps_is_said_before_it_is_written() -> None:
    assert "all of it" in what_is_kept("peft", "shipped") and "most" in what_is_kept("merged", "BF16")
    assert "measured after writing" in what_is_kept("merged", "shipped")
    assert "with more bits" in what_is_kept("merged", "auto")


@pytest.mark.screen
async def test_an_adapter_is_exported_as_a_file_of_its_own(tmp_path: Path) -> None:
    home = make_home(tmp_path / "home")
    target = tmp_path / "out.gguf"
    with AppState(home) as app_state:
        app = ConselfApp(app_state)
        async with app.run_test(size=SIZE) as pilot:
            await press(pilot, "8", "e")
            assert isinstance(app.screen, ExportDialog) and "measured after writing" in text_of(app, "#kept")
            app.screen.query_one("#form", Select).value = "gguf-lora"
            await settle(pilot)
            assert not app.screen.query_one("#number-row").display and "all of it" in text_of(app, "#kept")
            field, button = app.screen.query_one("#target", Input), app.screen.query_one("#export", Button)
            assert field.value.endswith("round-1.adapter.gguf")
            for path, reason in ((tmp_path / "no" / "x", "no such folder"), (home.database, "nothing is overwritten")):
                field.value = str(path)
                await settle(pilot)
                assert reason in text_of(app, "#reason") and button.disabled, reason
            field.value = str(target)
            await settle(pilot)
            field.focus()
            await press(pilot, "enter")
            assert target.exists() and "llama-server --lora" in toasts_of(app)


@pytest.mark.screen
async def test_an_adapter_is_imported_and_what_is_none_is_refused(tmp_path: Path) -> None:
    model = write_tiny_model(tmp_path / "tiny.gguf")
    (tmp_path / "other").mkdir()
    write_home(tmp_path / "other", model)
    home = Home(tmp_path / "home")
    with AppState(home) as app_state:
        app = ConselfApp(app_state)
        app.app_state.choose(model=str(model.path))
        async with app.run_test(size=SIZE) as pilot:
            await press(pilot, "8", "i")
            assert isinstance(app.screen, ImportDialog) and app.screen.query_one("#import", Button).disabled
            app.screen.query_one("#path", Input).value = str(tmp_path / "nothing")
            await settle(pilot)
            assert "no such file or folder" in text_of(app, "#reason")
            app.screen.query_one("#path", Input).value = str(model.path)
            await settle(pilot)
            app.screen.query_one("#path", Input).focus()
            await press(pilot, "enter")
            with app_state.reading() as store:
                assert "✗ " in toasts_of(app) and store.value("select count(*) from adapters") == 0
            await press(pilot, "i")
            app.screen.query_one("#path", Input).value = str(tmp_path / "other" / "random.gguf")
            app.screen.query_one("#name", Input).value = "mine"
            app.screen.query_one("#keep", Select).value = True
            await settle(pilot)
            app.screen.query_one("#path", Input).focus()
            await press(pilot, "enter")
            assert "Adapter 1: mine; the next round begins with it" in toasts_of(app), toasts_of(app)
            assert "from elsewhere ─ 1 mine" in text_of(app, "#details") and "★" in text_of(app)


@pytest.mark.screen
async def test_escape_in_a_form_writes_nothing(app: ConselfApp) -> None:
    async with app.run_test(size=SIZE) as pilot:
        await press(pilot, "8", "e", "escape", "i", "escape")
        assert not isinstance(app.screen, (ExportDialog, ImportDialog)) and not toasts_of(app)
