"""The screen of the round in each of its states, and what its keys start."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from conself_local.events import Notice, NoticeKind
from conself_local.round import process as round_process
from conself_local.round.time_left import TimeLeft
from conself_local.store.events import store_notice
from conself_local.store.store import Store
from tests.tui.conftest import press, text_of, toasts_of
from tests.tui.states import rewind
from tui.app import ConselfApp
from tui.screens.problem import ProblemScreen
from tui.screens.round import RoundScreen, describe_time
from tui.widgets.big_table import BigTable
from tui.widgets.panel import Panel

pytestmark = pytest.mark.screen
SIZE = (140, 40)


def _heading(app: ConselfApp, selector: str) -> str:
    return str(app.screen.query_one(selector, Panel).border_title)


def _add_samples(store: Store, count: int) -> None:
    """Store `count` more samples, as the round does while it works."""
    last = store.row("select * from samples order by rowid desc limit 1")
    for i in range(count):
        store.db.table("samples").insert(last | {"id": f"new-{i}-{last['id']}", "number": 100 + i})


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Return the arguments of every round that the screens start, without starting one."""
    calls: list[list[str]] = []

    def start(home: object, arguments: list[str]) -> int:
        calls.append(arguments)
        return 1

    monkeypatch.setattr(round_process, "start", start)
    return calls


async def test_an_empty_home_never_starts_the_bundled_model_silently(
    empty_app: ConselfApp, started: list[list[str]]
) -> None:
    async with empty_app.run_test(size=SIZE) as pilot:
        await press(pilot, "2")
        assert not empty_app.screen.query_one("#whole").display and "No round yet" in text_of(empty_app, "#message")
        await press(pilot, "s")
        assert empty_app.current_mode == "start" and not started and "Choose here" in toasts_of(empty_app)


async def test_a_running_round_shows_its_stages_and_its_programs(app: ConselfApp) -> None:
    with app.app_state.reading() as store:
        rewind(store, "sampling")
    async with app.run_test(size=SIZE) as pilot:
        with app.app_state.home.lock():
            await press(pilot, "2")
            text = text_of(app)
            assert "▶ sample" in _heading(app, "#whole") and "▶ sample 36 / 60" in text and "✓ observe 4" in text
            assert "known once some programs are sampled" in text and "· judge" in text
            assert "36 of 36" in _heading(app, "#latest") and "def " in text_of(app, "#source Plain")
            await press(pilot, "s")
            assert "already running" in toasts_of(app)


async def test_no_empty_table_stands_there_before_programs_come(app: ConselfApp) -> None:
    with app.app_state.reading() as store:
        rewind(store, "sampling")
        store.db.execute("delete from samples")
    async with app.run_test(size=SIZE) as pilot:
        with app.app_state.home.lock():
            await press(pilot, "2")
            assert not app.screen.query_one("#below").display and "as they are sampled" in text_of(app, "#message")


async def test_a_stopped_round_continues(app: ConselfApp, started: list[list[str]]) -> None:
    with app.app_state.reading() as store:
        rewind(store, "sampling")
    async with app.run_test(size=SIZE) as pilot:
        await press(pilot, "2")
        assert "! stopped" in _heading(app, "#whole") and "s continues" in text_of(app, "#message")
        await press(pilot, "s")
        assert started == [[]] and "Round 1 continues" in toasts_of(app)


async def test_a_failed_round_says_why(app: ConselfApp) -> None:
    with app.app_state.reading() as store:
        rewind(store, "sampling")
    app.app_state.home.logs.mkdir(exist_ok=True)
    (app.app_state.home.logs / "round-1.log").write_text("conself: the disk is full\n  make room\n")
    async with app.run_test(size=SIZE) as pilot:
        await press(pilot, "2")
        assert "✗ failed" in _heading(app, "#whole") and "✗ round 1 ended early" in text_of(app)
        assert "the disk is full make room" in text_of(app, "#message")


async def test_another_round_is_like_the_last_one(app: ConselfApp, started: list[list[str]], tmp_path: Path) -> None:
    """Prevent a regression: s began a round with the bundled model and the starter pack, whatever was trained before."""
    model = tmp_path / "coder.gguf"
    model.touch()
    with app.app_state.reading() as store:
        from conself_local.settings import LAPTOP, settings_to_json

        store.db.execute("update rounds set model_path = ?, settings = ?", [
            str(model), json.dumps(settings_to_json(LAPTOP)),
        ])  # fmt: skip
    async with app.run_test(size=SIZE) as pilot:
        await press(pilot, "2", "s")
        assert started[0][:4] == ["--preset", "laptop", "--model", str(model)] and "--seed" not in started[0]
        assert "--problems" in started[0] and "preset of round 1" in toasts_of(app)


async def test_what_cannot_be_repeated_is_chosen_on_the_start_screen(app: ConselfApp, started: list[list[str]]) -> None:
    async with app.run_test(size=SIZE) as pilot:
        await press(pilot, "2", "s")
        assert app.current_mode == "start" and not started, "its model file is gone"


async def test_programs_do_not_move_under_the_cursor(app: ConselfApp) -> None:
    """Prevent a regression: while someone read a program, new ones pushed it away."""
    async with app.run_test(size=SIZE) as pilot:
        await press(pilot, "2", "down")
        table = app.screen.query_one("#programs", BigTable)
        under: Any = table.row
        with app.app_state.reading() as store:
            _add_samples(store, 12)
        await press(pilot, "r")
        assert table.row == under and table.cursor == 1
        assert "+12 new: Home shows them" in str(app.screen.query_one("#latest", Panel).border_subtitle)
        await press(pilot, "home")
        assert table.row["id"].startswith("new-11") and "newest first" in text_of(app)
        with app.app_state.reading() as store:
            store.db.execute("delete from samples where rowid = (select max(rowid) from samples)")
        await press(pilot, "r")
        assert table.row["id"].startswith("new-10"), "on the first row the table follows"


async def test_enter_opens_the_problem_of_a_program(app: ConselfApp) -> None:
    async with app.run_test(size=SIZE) as pilot:
        await press(pilot, "2", "enter")
        assert isinstance(app.screen, ProblemScreen) and "starter/reverse-string" in _heading(app, "#about")
        await press(pilot, "escape")
        assert isinstance(app.screen, RoundScreen)


async def test_what_the_round_noticed_is_shown(app: ConselfApp) -> None:
    with app.app_state.reading() as store:
        store_notice(store, 1, "start", Notice("2 problems excluded: a [/b]; b", NoticeKind.PROBLEMS_EXCLUDED))
        store_notice(store, 1, "sample", Notice("the processor is slowed by heat", NoticeKind.HEAT))
    async with app.run_test(size=SIZE) as pilot:
        await press(pilot, "2")
        assert "To know  2" in _heading(app, "#to-know") and "· start: 2 problems excluded: a [/b]" in text_of(app)
        await press(pilot, "w")
        assert "! round 1, sample: the processor is slowed" in text_of(app, "#all-notices")
        await press(pilot, "escape")
        assert isinstance(app.screen, RoundScreen)


def test_the_time_left_is_a_range_until_it_is_sure() -> None:
    assert describe_time(TimeLeft(0.0, None, (), False)).startswith("time left: known once")
    assert (
        describe_time(TimeLeft(0.01, 3600.0, ("train",), False)) == "40 min to 1 h 30 min, then train: not measured yet"
    )
    assert describe_time(TimeLeft(0.5, 4500.0, (), True)).startswith("about 75 min left · by ")


async def test_a_held_round_says_how_it_continues(app: ConselfApp, monkeypatch: pytest.MonkeyPatch) -> None:
    with app.app_state.reading() as store:
        rewind(store, "judging")
    monkeypatch.setattr(round_process, "is_paused", lambda home: True)
    async with app.run_test(size=SIZE) as pilot:
        with app.app_state.home.lock():
            await press(pilot, "2")
            assert "‖ paused" in _heading(app, "#whole") and "p resumes it" in text_of(app, "#message")
            assert "‖ round 1 is paused" in text_of(app) and "6 ‖ Evaluation" in text_of(app)


async def test_a_round_that_starts_says_so_before_it_is_stored(empty_app: ConselfApp) -> None:
    async with empty_app.run_test(size=SIZE) as pilot:
        with empty_app.app_state.home.lock():
            await press(pilot, "2")
            assert "A round is starting" in _heading(empty_app, "#whole") and "reading the model" in text_of(empty_app)


async def test_a_small_terminal_keeps_what_acts(app: ConselfApp) -> None:
    async with app.run_test(size=(80, 24)) as pilot:
        await press(pilot, "2")
        assert not app.screen.query_one("#beside").region and app.screen.query_one("#programs").region.height >= 5
        assert "Adapter 1 kept" in text_of(app, "#message") and "█" in _heading(app, "#latest")
