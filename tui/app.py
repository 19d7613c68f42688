"""Wire the app: its screens and the keys that work on every screen. The screens and the core do the work."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Iterable, Sequence
from typing import ClassVar

from textual.app import App, SystemCommand
from textual.binding import Binding, BindingType
from textual.filter import LineFilter
from textual.screen import ModalScreen, Screen
from textual.worker import WorkerFailed

from conself_local.round import process as round_process
from tui.app_state import AppState
from tui.screens.adapters import AdaptersScreen
from tui.screens.base import BaseScreen
from tui.screens.evaluation import EvaluationScreen
from tui.screens.help import HelpScreen
from tui.screens.notices import NoticesScreen
from tui.screens.pairs import PairsScreen
from tui.screens.playground import PlaygroundScreen
from tui.screens.problem import ProblemScreen
from tui.screens.problems import ProblemsScreen
from tui.screens.round import RoundScreen
from tui.screens.settings import SettingsScreen
from tui.screens.start import StartScreen
from tui.screens.training import TrainingScreen
from tui.widgets.ask_dialog import Answer, Ask
from tui.widgets.nav_bar import SCREENS, NavBar
from tui.widgets.plain import EscapeFilter

SCREEN_TYPES: tuple[type[BaseScreen], ...] = (
    StartScreen,
    RoundScreen,
    ProblemsScreen,
    PairsScreen,
    TrainingScreen,
    EvaluationScreen,
    PlaygroundScreen,
    AdaptersScreen,
    SettingsScreen,
)
THEMES = ("textual-dark", "textual-light", "nord", "gruvbox", "solarized-light")
"""The themes that the key goes through."""


class ConselfApp(App[None]):
    """The app on one home; closing it does not stop a running round unless the user asks for that."""

    TITLE = "conself"
    CSS_PATH = "app.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [
        *(Binding(key, f"go('{name}')", name, show=False) for key, name in SCREENS),
        # the F keys work in text fields too
        *(Binding(f"f{key}", f"go('{name}')", name, show=False, priority=True) for key, name in SCREENS),
        Binding("f10", "maximise", "Fill the screen", show=False, priority=True),
        Binding("w", "notices", "Notices", show=False),
        Binding("t", "theme", "Theme", show=False),
        Binding("question_mark", "help", "Help"),
        Binding("q", "leave", "Quit"),
    ]

    def __init__(self, app_state: AppState) -> None:
        super().__init__()
        self.app_state = app_state
        self._escape_filter = EscapeFilter(getattr(sys.__stderr__, "encoding", None))
        for screen in SCREEN_TYPES:
            self.add_mode(screen.NAME, lambda screen=screen: screen(self.app_state))  # type: ignore[misc]

    def get_line_filters(self) -> Sequence[LineFilter]:
        """Return Textual's filters and the one through which all text goes to the terminal."""
        return [*super().get_line_filters(), self._escape_filter]

    @property
    def failure(self) -> Exception | None:
        """The error that nobody foresaw and that ended the app, if there was one."""
        failed = self._exception
        return failed.error if isinstance(failed, WorkerFailed) else failed  # type: ignore[return-value]

    def _fatal_error(self) -> None:
        """Close after an error that nobody foresaw; Textual would print the values of all variables, raw."""
        self._close_messages_no_wait()

    def panic(self, *renderables: object) -> None:
        """Close as `_fatal_error` does; `__main__.py` reports the error."""
        self._close_messages_no_wait()

    def on_mount(self) -> None:
        """Open the first screen, and exit cleanly on SIGTERM or a lost terminal; a running round continues."""
        for signal_number in (signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(signal_number, self.exit)
        if self.app_state.choices.theme in self.available_themes:
            self.theme = self.app_state.choices.theme
        self.switch_mode("round" if round_process.running(self.app_state.home) else "start")

    def action_go(self, name: str) -> None:
        """Open a screen; a list that lies over the present one closes, but a question waits for its answer."""
        if isinstance(self.screen, (HelpScreen, NoticesScreen)):
            self.screen.dismiss(None)
        elif isinstance(self.screen, ModalScreen):
            return
        self.switch_mode(name)

    def on_nav_bar_chosen(self, event: NavBar.Chosen) -> None:
        self.switch_mode(event.name)

    def action_help(self) -> None:
        self.push_screen(HelpScreen(self.screen, [*SCREEN_TYPES, ProblemScreen]))

    def action_notices(self) -> None:
        self.push_screen(NoticesScreen(self.app_state))

    def action_theme(self) -> None:
        """Take the next of some themes, light and dark; Ctrl+P offers all of them."""
        at = THEMES.index(self.theme) if self.theme in THEMES else -1
        self.theme = THEMES[(at + 1) % len(THEMES)]
        self.app_state.choose(theme=self.theme)
        self.notify(f"Theme: {self.theme}", markup=False)

    def action_maximise(self) -> None:
        """Let the panel with the focus fill the screen, or give the others their room back."""
        if self.screen.maximized is not None:
            self.screen.minimize()
        elif self.screen.focused is not None:
            self.screen.maximize(self.screen.focused)

    def action_leave(self) -> None:
        """Quit; if a round is running, ask first. Only the answer that says so stops it, never Escape."""
        if not round_process.running(self.app_state.home):
            self.exit()
            return

        def answered(answer: str | None) -> None:
            if answer is None:
                return
            if answer == "stop":
                round_process.stop(self.app_state.home)
            self.exit()

        question = (
            "It can continue without these screens, and `conself tui` shows it again. If it is stopped, everything "
            "that is stored is kept."
        )
        answers = [
            Answer("k", "Keep it running, close the screens", "keep"),
            Answer("x", "Stop it, close the screens", "stop"),
        ]
        self.push_screen(Ask("A round is running", question, answers, stay="Stay here"), answered)

    async def action_quit(self) -> None:
        """Quit as `q` does: Textual's own keys and commands for this do not bypass the question."""
        self.action_leave()

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        yield from super().get_system_commands(screen)
        for key, name in SCREENS:
            yield SystemCommand(f"Go to {name}", f"key {key}", lambda name=name: self.action_go(name))
