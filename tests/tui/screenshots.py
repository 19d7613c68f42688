"""Draw a screenshot of every screen from the store that a real round made; the READMEs show them.

    python -m tests.tui.screenshots

draws them into `screenshots/`. To look at every screen at every size, light and dark, as plain SVG files:

    python -m tests.tui.screenshots --look FOLDER
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from conself_local.home import Home
from conself_local.store.store import Store
from tests.tui.conftest import REAL_ROUND, press
from tests.tui.hide_computer import another_computer, hide_this_computer
from tests.tui.states import change_answers, rewind, train_longer
from tui.app import ConselfApp
from tui.app_state import AppState

FOLDER = Path(__file__).parent / "screenshots"
SIZE = (120, 34)
SIZES = ((80, 24), (140, 40), (200, 60))
THEMES = ("textual-dark", "textual-light")
MAX_BYTES = 200_000


@dataclass(frozen=True)
class Shot:
    """One screen in one state."""

    keys: tuple[str, ...]
    prepare: Callable[[Store], None] | None = None
    """Changes the copy of the store first."""
    running: bool = False
    """Whether a round holds the lock of the home."""
    empty: bool = False
    """Whether the home has no round at all."""
    in_readme: bool = True


SHOTS = {
    "start": Shot(("1",)),
    "round": Shot(("2",), lambda store: rewind(store, "sampling"), running=True),
    "problems": Shot(("3", "o")),
    "problem": Shot(("3", "o", "enter")),
    "pairs": Shot(("4",)),
    "training": Shot(("5",), train_longer),
    "evaluation": Shot(("6",)),
    "playground": Shot(("7",)),
    "adapters": Shot(("8",)),
    "settings": Shot(("9",)),
    "help": Shot(("2", "question_mark")),
    "notices": Shot(("2", "w")),
    "export": Shot(("8", "e"), in_readme=False),
    "import": Shot(("8", "i"), in_readme=False),
    "help-all": Shot(("2", "question_mark", "tab"), in_readme=False),
    "quit": Shot(("2", "q"), lambda store: rewind(store, "training"), running=True, in_readme=False),
    "round-done": Shot(("2",), in_readme=False),
    "round-stopped": Shot(("2",), lambda store: rewind(store, "sampling"), in_readme=False),
    "round-empty": Shot(("2",), empty=True, in_readme=False),
    "start-empty": Shot(("1",), empty=True, in_readme=False),
    "start-unfinished": Shot(("1",), lambda store: rewind(store, "sampling"), in_readme=False),
    "settings-find": Shot(("9", "slash", *"learning", "enter", "enter"), in_readme=False),
    "problems-empty": Shot(("3",), empty=True, in_readme=False),
    "training-running": Shot(("5",), lambda store: rewind(store, "training"), running=True, in_readme=False),
    "evaluation-changed": Shot(("6",), change_answers, in_readme=False),
    "evaluation-more": Shot(("6", "m"), change_answers, in_readme=False),
    "evaluation-diff": Shot(("6", "enter"), change_answers, in_readme=False),
    "adapters-empty": Shot(("8",), empty=True, in_readme=False),
}


async def draw(shot: Shot, size: tuple[int, int], theme: str, title: str) -> str:
    """Return the screen that the keys lead to as SVG."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        if not shot.empty:
            shutil.copy(REAL_ROUND, Path(folder) / "conself.db")
        stack.enter_context(another_computer())
        home = Home(Path(folder))
        app_state = stack.enter_context(AppState(home))
        if shot.prepare:
            with app_state.reading() as store:
                shot.prepare(store)
        if shot.running:
            stack.enter_context(home.lock())
        app = ConselfApp(app_state)
        async with app.run_test(size=size) as pilot:
            app.theme = theme
            await press(pilot, *shot.keys)
            hide_this_computer(app)
            await pilot.pause()
            return app.export_screenshot(title=title)


def main() -> None:
    """Draw the screenshots of the READMEs, or all states at all sizes to look at."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--look", type=Path, help="folder for all screens, sizes and themes")
    parser.add_argument("--size", action="append", help="with --look, only these sizes, such as 80x24")
    parser.add_argument("names", nargs="*", help="only these")
    options = parser.parse_args()
    folder = options.look or FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    for name, shot in SHOTS.items():
        if options.names and name not in options.names:
            continue
        if options.look:
            for size in SIZES:
                for theme in THEMES if not options.size or f"{size[0]}x{size[1]}" in options.size else ():
                    file = folder / f"{name}-{size[0]}x{size[1]}-{theme.removeprefix('textual-')}.svg"
                    file.write_text(asyncio.run(draw(shot, size, theme, name)))
        elif shot.in_readme:
            svg = asyncio.run(draw(shot, SIZE, "textual-dark", f"conself: {name}"))
            assert len(svg.encode()) < MAX_BYTES, f"{name} is larger than a README should load"
            (folder / f"{name}.svg").write_text(svg)
            print(f"{name}.svg: {len(svg.encode()) >> 10} KiB")


if __name__ == "__main__":
    main()
