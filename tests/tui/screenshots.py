"""Draw the README's screenshots from the store that a real round made.

python -m tests.tui.screenshots
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from pathlib import Path

from conself_local.home import Home
from conself_local.store.store import Store
from tests.tui.conftest import REAL_ROUND, press
from tui.app import ConselfApp
from tui.app_state import AppState

FOLDER = Path(__file__).parent / "screenshots"
SHOTS = {"round": ["2"], "problem": ["3", "o", "enter"], "evaluation": ["6"]}
MAX_BYTES = 200_000


async def draw(name: str, keys: list[str]) -> None:
    """Draw the screen that the keys lead to as `name`.svg; fail if the file has MAX_BYTES or more."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(REAL_ROUND, Path(folder) / "conself.db")
        home = Home(Path(folder))
        with Store(home.database) as store:
            app = ConselfApp(AppState(home, store))
            async with app.run_test(size=(110, 32)) as pilot:
                await press(pilot, *keys)
                svg = app.export_screenshot(title=f"conself: {name}")
    assert len(svg.encode()) < MAX_BYTES, f"{name} is larger than a README should load"
    (FOLDER / f"{name}.svg").write_text(svg)
    print(f"{name}.svg: {len(svg.encode()) >> 10} KiB")


def main() -> None:
    """Draw every screenshot."""
    FOLDER.mkdir(exist_ok=True)
    for name, keys in SHOTS.items():
        asyncio.run(draw(name, keys))


if __name__ == "__main__":
    main()
