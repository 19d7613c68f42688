"""Every screen shows its states, driven by keys, on the store of a real round and on files and processes that fail."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from textual import events
from textual.pilot import Pilot
from textual.widgets import Button, Input, TabbedContent, TextArea

from conself_local.events import Notice, NoticeKind
from conself_local.round import process as round_process
from conself_local.store.events import store_notice
from conself_local.store.nights import begin_night, end_night
from tests.fakes.bare_mlx_folder import write_bare_folder
from tests.fakes.tiny_model import write_tiny_model
from tests.tui.conftest import press, settle, text_of, toasts_of, wait_for
from tests.tui.states import rewind
from tui.app import ConselfApp
from tui.screens.problem import ProblemScreen
from tui.widgets.big_table import BigTable
from tui.widgets.pick_file import GgufTree

SIZE = (100, 30)


def heading(app: ConselfApp, selector: str) -> str:
    """Return the title in the border of a panel."""
    return str(app.screen.query_one(selector).border_title)


@pytest.mark.screen
async def test_every_screen_of_an_empty_home_says_what_to_do_next(empty_app: ConselfApp) -> None:
    hints = {
        "2": "Press s or 1",
        "3": "Press 1 to start",
        "4": "No pairs yet",
        "5": "No training step yet",
        "6": "Nothing has been judged",
        "8": "A round trains one",
    }
    async with empty_app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        assert "one key starts" in text_of(empty_app, "#message")
        for key, hint in hints.items():
            await press(pilot, key)
            assert hint in text_of(empty_app, "#message"), key
        await press(pilot, "9")
        assert "preset laptop" in text_of(empty_app)
        await press(pilot, "question_mark")
        assert "this screen" in text_of(empty_app) and "Settings" in text_of(empty_app, "#help-text")
        await press(pilot, "escape", "q")
    assert empty_app.return_code == 0


async def test_keys_pressed_before_a_screen_is_ready_are_not_typed_into_a_field(app: ConselfApp) -> None:
    """Prevent a regression: the first field took the focus for a moment.

    If 3 and 4 came in quick succession, the 4 became a filter of the problems.
    """
    async with app.run_test(size=SIZE) as pilot:
        await settle(pilot)
        for key in "34":
            app.post_message(events.Key(key, key))
        await settle(pilot)
        await press(pilot)
        assert app.current_mode == "pairs"


async def test_the_round_screen_shows_a_done_round(app: ConselfApp) -> None:
    async with app.run_test(size=SIZE) as pilot:
        await press(pilot, "2")
        assert "✓ done" in heading(app, "#whole") and "100 %" in text_of(app)
        assert "✓ sample 60" in text_of(app) and "another round like this" in text_of(app, "#message")
        rows = app.screen.query_one("#programs", BigTable).rows
        assert len(rows) == 40 and " of 25" in text_of(app)


@pytest.mark.screen
async def test_problems_are_filtered_sorted_and_opened(app: ConselfApp) -> None:
    async with app.run_test(size=SIZE) as pilot:
        await press(pilot, "3")
        table = app.screen.query_one("#table", BigTable)
        assert len(table.rows) == 4
        await press(pilot, "o")
        entropies = [row.entropy_bits or 0 for row in table.rows]
        assert entropies == sorted(entropies, reverse=True)
        await press(pilot, "slash", *"square", "enter")
        assert [row.id for row in table.rows] == ["starter/square"]
        app.screen.query_one("#filter", Input).value = "no such problem"
        await settle(pilot)
        assert not table.rows and "0 of 4" in heading(app, "#list")
        app.screen.query_one("#filter", Input).value = ""
        await settle(pilot)
        table.focus()
        await press(pilot, "enter")
        assert isinstance(app.screen, ProblemScreen)
        await press(pilot, "escape")
        assert app.screen.query_one("#table", BigTable) is table


@pytest.mark.screen
async def test_the_cut_shows_what_it_would_select(app: ConselfApp) -> None:
    async with app.run_test(size=SIZE) as pilot:
        await press(pilot, "3")
        before = text_of(app, "#cut")
        await pilot.press(*["right"] * 40)
        await settle(pilot)
        wide = text_of(app, "#cut")
        assert " off" in wide and before != wide and "0 problems" not in wide
        await pilot.press(*["left"] * 60)
        await settle(pilot)
        assert "▸ min-max 0 problems, 0 pairs" in text_of(app, "#cut") and "0.00" in text_of(app, "#cut")
        await press(pilot, "m")
        assert "▸ log2" in text_of(app, "#cut")


@pytest.mark.screen
async def test_a_problem_shows_groups_inputs_differences_and_texts(app: ConselfApp) -> None:
    async with app.run_test(size=(120, 40)) as pilot:
        await press(pilot, "3", "o", "enter")
        assert "too hard" in heading(app, "#about") and "not below the cut of 0.30" in text_of(app, "#statement")
        assert "A 10×" in text_of(app) and "input 1" in text_of(app, "#input") and "A: 10 programs" in text_of(app)
        await press(pilot, "right")
        assert "input 2" in text_of(app, "#input") and "▸2" in text_of(app)
        await press(pilot, "down", "down")
        assert "A and C" in heading(app, "#sides") and "C gives" in text_of(app, "#input")
        await press(pilot, "v")
        assert "A and D" in heading(app, "#sides")
        for tab in ("observations", "prompts", "completions"):
            await press(pilot, "right_square_bracket")
            assert app.screen.query_one(TabbedContent).active == tab and len(text_of(app, f"#{tab}-text")) > 20
        await press(pilot, "escape")
        assert app.screen.query("#filter")


async def test_a_pair_is_left_out_by_key_and_taken_back(app: ConselfApp) -> None:
    async with app.run_test(size=SIZE) as pilot:
        await press(pilot, "4")
        rows = app.screen.query_one("#pairs", BigTable).rows
        assert rows and "chosen, agrees" in text_of(app) and "highest consensus" in text_of(app, "#why")
        await press(pilot, "x")
        assert "0 left out" in heading(app, "#list"), "x is only ever stop"
        await press(pilot, "space")
        assert "1 left out" in heading(app, "#list") and "Left out of training" in toasts_of(app)
        with app.app_state.reading() as store:
            assert store.value("select count(*) from pairs where excluded") == 1
        await press(pilot, "space")
        assert "0 left out" in heading(app, "#list")


async def test_training_shows_charts_and_warns_of_displacement(app: ConselfApp) -> None:
    async with app.run_test(size=SIZE) as pilot:
        await press(pilot, "5")
        assert "learning rate" in text_of(app, "#numbers") and "nats per token" in heading(app, "#chosen-panel")
        with app.app_state.reading() as store:
            store.db.execute("update training_steps set chosen_logp_shift = -0.8")
        await press(pilot, "r")
        assert "less likely (-0.80" in text_of(app, "#message") and app.screen.query_one("#message").has_class("-warn")


async def test_the_round_lists_its_latest_notices_and_obeys_no_text(app: ConselfApp) -> None:
    async with app.run_test(size=(140, 40)) as pilot:
        await press(pilot, "2")
        assert not app.screen.query_one("#to-know").display
        with app.app_state.reading() as store:
            for number in range(7):
                store_notice(store, 1, "sample", Notice(f"heat {number}", NoticeKind.HEAT))
            store_notice(store, 1, "train", Notice("[bold]\x1b[2J[/b]", NoticeKind.TRAINING_FORECAST))
        await press(pilot, "r")
        assert "To know  8" in text_of(app)
        lines = text_of(app, "#notices").splitlines()
        assert lines[-1].startswith("· train: [bold]\\x1b[2J[/b]") and lines[-2].startswith("! sample: heat 6")
        await press(pilot, "w")
        assert "round 1, sample: heat 0" in text_of(app, "#all-notices")


async def test_nothing_is_drawn_before_training_has_steps(app: ConselfApp) -> None:
    """Prevent a regression: four empty charts had axes from 0 to 1."""
    with app.app_state.reading() as store:
        rewind(store, "sampling")
    async with app.run_test(size=SIZE) as pilot:
        await press(pilot, "5")
        assert not app.screen.query_one("#charts").region and "comes after the pairs" in text_of(app, "#message")


async def test_evaluation_shows_the_verdict_in_words_and_takes_a_decision(app: ConselfApp) -> None:
    async with app.run_test(size=(120, 40)) as pilot:
        await press(pilot, "6")
        words = text_of(app, "#words")
        assert "No measurable change on validation, 2 problems" in words and "Adapter 1 is kept" in words
        assert "50.0 % → 60.0 %" in text_of(app) and "may be chance" in text_of(app)
        assert "McNemar" not in text_of(app)
        await press(pilot, "m")
        assert "McNemar" in text_of(app, "#more") and "interval" in text_of(app, "#more")
        await press(pilot, "b")
        assert "Adapter 1 is put aside" in text_of(app, "#words") and "u takes it back" in toasts_of(app)
        await press(pilot, "u")
        assert "Adapter 1 is kept" in text_of(app, "#words")
        await press(pilot, "b", "a")
        assert "Adapter 1 is kept" in text_of(app, "#words")


async def test_a_gained_problem_shows_both_programs(app: ConselfApp) -> None:
    with app.app_state.reading() as store:
        result = json.loads(store.value("select result from evaluations where benchmark = 'validation'"))
        problem = store.value(
            "select problem_id from evaluation_samples where benchmark = 'validation' and mode = 'greedy'"
        )
        result["gained"] = [problem]
        store.db.execute("update evaluations set result = ? where benchmark = 'validation'", [json.dumps(result)])
    async with app.run_test(size=(140, 40)) as pilot:
        await press(pilot, "6")
        assert "+ 1 problem" in heading(app, "#gained-panel") and "− 0 problems" in heading(app, "#lost-panel")
        assert "base, " in text_of(app) and "adapter, " in text_of(app)


@pytest.mark.screen
async def test_adapters_are_used_renamed_and_deleted_after_a_question(app: ConselfApp) -> None:
    async with app.run_test(size=SIZE) as pilot:
        await press(pilot, "8")
        assert "base ─ 1 round-1" in text_of(app, "#details")
        await press(pilot, "enter")
        assert app.app_state.adapter_id == 1 and "★" in text_of(app) and "7 opens it" in toasts_of(app)
        await press(pilot, "n")
        app.screen.query_one(Input).value = "my coder"
        await press(pilot, "enter")
        assert "my coder" in text_of(app)
        await press(pilot, "n")
        app.screen.query_one(Input).value = " "
        await press(pilot, "enter")
        assert "1 to 80 characters" in toasts_of(app)
        for refusal in ("escape", "enter"):
            await press(pilot, "delete", refusal)
            assert "my coder" in text_of(app), refusal
        await press(pilot, "delete", "y")
        assert "No adapter yet" in text_of(app, "#message") and "is deleted" in toasts_of(app)


@pytest.mark.screen
async def test_a_changed_model_is_reported_in_the_playground(app: ConselfApp, tmp_path: Path) -> None:
    app.app_state.choose(model=str(write_tiny_model(tmp_path / "tiny.gguf").path))
    async with app.run_test(size=SIZE) as pilot:
        with app.app_state.reading() as store:
            store.db.execute(
                "update adapters set state = 'accepted', model_path = ?, model_sha256 = 'old'",
                [str(app.app_state.model)],
            )
        await press(pilot, "1", "7")
        said = text_of(app, "#message")
        assert "tiny.gguf has changed since adapter" in said and "restore the old file" in said
        assert "only the base model answers" in said


@pytest.mark.screen
async def test_a_missing_adapter_file_is_reported_in_the_playground(app: ConselfApp) -> None:
    async with app.run_test(size=SIZE) as pilot:
        await press(pilot, "7")
        with app.app_state.reading() as store:
            store.set_adapter_state(1, "accepted")
            store.db.execute("update adapters set model_sha256 = (select model_sha256 from rounds limit 1)")
        await press(pilot, "1", "7")
        assert "is missing or has changed" in text_of(app, "#message") and app.screen.query_one("#message").has_class(
            "-bad"
        )


@pytest.mark.model
@pytest.mark.timeout(300)
async def test_the_playground_answers_and_runs_in_the_sandbox(empty_app: ConselfApp) -> None:
    async with empty_app.run_test(size=SIZE) as pilot:
        await press(pilot, "7")
        assert not isinstance(empty_app.screen.focused, TextArea), "digits open screens"
        await press(pilot, "ctrl+r")
        assert "Nothing to run yet" in toasts_of(empty_app)
        await press(pilot, "i")
        empty_app.screen.query_one(TextArea).text = "Say hi."
        await press(pilot, "ctrl+s")
        assert "sandbox" in toasts_of(empty_app) and empty_app.screen._answers["base"].strip()  # type: ignore[attr-defined]
        empty_app.screen._answers["base"] = "```python\ndef double(n):\n    return n * 2\n```"  # type: ignore[attr-defined]
        empty_app.screen._answers["adapter"] = "no program"  # type: ignore[attr-defined]
        for call, said in (
            ("double(21)", "✓ base: 42"),
            ("double(open('x'))", "must be literals"),
            ("triple(1)", "✗ base: error"),
        ):
            empty_app.screen.query_one("#call", Input).value = call
            await press(pilot, "ctrl+r")
            assert said in text_of(empty_app, "#ran"), call
        assert "– adapter: nothing to run" in text_of(empty_app, "#ran")


async def test_a_file_that_is_no_model_is_reported(empty_app: ConselfApp, tmp_path: Path) -> None:
    (tmp_path / "x.gguf").write_bytes(b"PK\x03\x04 not a model" * 9)
    async with empty_app.run_test(size=SIZE) as pilot:
        await settle(pilot)
        for path, says in (
            (tmp_path / "x.gguf", "is not a GGUF file"),
            (tmp_path / "none.gguf", "there is no model file"),
        ):
            field = empty_app.screen.query_one("#model-path", Input)
            field.value = str(path)
            field.focus()
            await press(pilot, "enter")
            assert says in text_of(empty_app, "#model-words") and says in text_of(empty_app, "#ready")
            assert empty_app.screen.query_one("#start", Button).disabled


async def _loaded_tree(app: ConselfApp, pilot: Pilot[None]) -> GgufTree:
    """Wait for the files that the picker lists: its loader never ends, so the test does not wait for that."""
    for _ in range(50):
        await pilot.pause(0.1)
        tree = app.screen.query_one(GgufTree)
        if tree.root.children:
            break
    return tree


async def test_a_model_file_is_picked(empty_app: ConselfApp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tiny_model(tmp_path / "models.gguf")
    (tmp_path / "notes.txt").write_text("")
    monkeypatch.setenv("HOME", str(tmp_path))
    async with empty_app.run_test(size=SIZE) as pilot:
        await settle(pilot)
        await pilot.press("g")
        tree = await _loaded_tree(empty_app, pilot)
        assert [str(node.label) for node in tree.root.children] == ["models.gguf"]
        tree.focus()
        await pilot.press("down", "enter")
        await pilot.pause(0.5)
        assert empty_app.app_state.model == tmp_path / "models.gguf"


async def test_a_folder_of_mlx_weights_is_picked(
    empty_app: ConselfApp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_bare_folder(tmp_path / "models/Tiny-4bit")
    monkeypatch.setenv("HOME", str(tmp_path / "models"))
    async with empty_app.run_test(size=SIZE) as pilot:
        await settle(pilot)
        await pilot.press("g")
        tree = await _loaded_tree(empty_app, pilot)
        tree.focus()
        await pilot.press("down", "enter")
        await pilot.pause(0.5)
        await settle(pilot)
        assert empty_app.app_state.model == folder and "Tiny-4bit" in text_of(empty_app, "#model-words")


@pytest.mark.timeout(300)
@pytest.mark.round
async def test_a_round_is_started_paused_and_continued_by_keys_and_outlives_the_screens(empty_app: ConselfApp) -> None:
    home = empty_app.app_state.home
    async with empty_app.run_test(size=SIZE) as pilot:
        await settle(pilot)
        empty_app.screen.query_one("#limit", Input).value = "4"
        await press(pilot, "s")
        try:
            wait_for(lambda: round_process.running(home))
            wait_for(lambda: empty_app.app_state.latest_round())
            await press(pilot, "r")
            assert "▶" in heading(empty_app, "#whole")
            await press(pilot, "p", "r")
            assert "‖ paused" in heading(empty_app, "#whole")
            await press(pilot, "p", "r")
            assert "▶" in heading(empty_app, "#whole")
            await press(pilot, "x", "escape")
            assert round_process.running(home)
            await press(pilot, "q", "k")
            assert round_process.running(home) and empty_app.return_code == 0
        finally:
            round_process.stop(home)
            wait_for(lambda: not round_process.running(home))


async def test_the_first_screen_shows_what_came_of_the_night(empty_app: ConselfApp) -> None:
    with empty_app.app_state.reading() as store:
        end_night(store, begin_night(store), None, "round 3 accepted: +2.1 points \x1b[2J")
    async with empty_app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        shown = text_of(empty_app, "#night")
        assert shown.startswith("The night of ") and "round 3 accepted: +2.1 points" in shown and "\x1b" not in shown
        assert "one key starts" in text_of(empty_app), "what a round needs stays in view"


@pytest.mark.screen
async def test_what_an_earlier_round_made_is_shown_after_the_next_one_has_begun(app: ConselfApp) -> None:
    with app.app_state.reading() as store:
        first = store.round(1)
        store.start_round(
            seed=1,
            settings=first.settings,
            model_path=first.model_path,
            model_sha256=first.model_sha256,
            template_hash="",
            base_adapter_id=None,
            versions={},
            request=first.request,
            problems=store.round_problems(1),
        )
    async with app.run_test(size=SIZE) as pilot:
        for key in "3456":
            await press(pilot, key)
            assert "The key , shows the round before." in text_of(app, "#message"), key
        await press(pilot, "comma")
        assert "Adapter 1 is kept" in text_of(app) and "! round 1" in text_of(app)
        await press(pilot, "3")
        assert "1 problem, 3 pairs" in text_of(app) and "! round 1" in text_of(app)
        await press(pilot, "comma")
        assert "no earlier round" in toasts_of(app)
        await press(pilot, "full_stop", "full_stop")
        assert "This is the latest round" in toasts_of(app) and "! round 1" not in text_of(app)


@pytest.mark.screen
async def test_a_resized_terminal_keeps_every_screen(app: ConselfApp) -> None:
    async with app.run_test(size=(200, 60)) as pilot:
        for key in "23456789":
            await press(pilot, key)
            for size in ((80, 24), (20, 5), (200, 60)):
                await pilot.resize_terminal(*size)
                await settle(pilot)
            assert app.screen.query_one("NavBar").size.width == 200


def test_the_screens_hold_no_sql_and_start_no_process() -> None:
    root = Path(__file__).parents[2] / "tui"
    sources = {path: path.read_text() for path in root.rglob("*.py")}
    assert len((root / "app.py").read_text().splitlines()) < 200
    for path, text in sources.items():
        assert "select " not in text.lower().replace("would select", "").replace("select a", ""), path
        assert "import subprocess" not in text and "sqlite_utils" not in text, path


def test_a_home_that_cannot_be_written_is_reported_without_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = subprocess.run(
        [sys.executable, "-m", "tui", "--home", str(tmp_path / "file" / "h")],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 2 and "cannot be written" in done.stderr and "Traceback" not in done.stderr
