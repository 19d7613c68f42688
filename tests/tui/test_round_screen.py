"""The first screen, driven as a user would, on a real store."""

from __future__ import annotations

from pathlib import Path

from textual.widgets import Label

from conself_local.problems.load import load_starter
from conself_local.settings import LAPTOP
from conself_local.store.store import RoundInfo, Store
from tui.app import ConselfApp
from tui.widgets.stage_lane import StageLane


def _round(store: Store) -> RoundInfo:
    return store.start_round(
        seed=1, settings=LAPTOP, model_path=Path("/models/tiny.gguf"), model_sha256="0", template_hash="0", base_adapter_id=None,
        versions={}, request={"evaluation_samples": 10}, problems=load_starter(("train",))[:3],
    )  # fmt: skip


async def _settled(app: ConselfApp) -> None:
    await app.workers.wait_for_complete()


async def test_empty_home_says_how_to_begin(tmp_path: Path) -> None:
    with Store(tmp_path / "conself.db") as store:
        app = ConselfApp(store)
        async with app.run_test(size=(80, 24)) as pilot:
            await _settled(app)
            await pilot.pause()
            assert "conself run" in str(app.screen.query_one("#headline", Label).content)


async def test_running_round_is_followed(tmp_path: Path) -> None:
    with Store(tmp_path / "conself.db") as store:
        round_ = _round(store)
        app = ConselfApp(store)
        async with app.run_test(size=(80, 24)) as pilot:
            with Store(tmp_path / "conself.db") as conductor:
                conductor.insert_observations(round_.id, "starter/add-numbers", ["a", "b", "c"], 1)
            await pilot.press("r")
            await _settled(app)
            await pilot.pause()
            lane = app.screen.query_one("#lane-observe", StageLane)
            assert (lane.done, lane.total) == (1, 3) and lane.has_class("-running")
            assert "Round 1 (running)" in str(app.screen.query_one("#headline", Label).content)
            await pilot.press("q")
        assert app.return_code == 0
