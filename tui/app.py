"""The app: theme, screens, global keys. It wires and does not work."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterable
from typing import ClassVar

from textual.app import App, SystemCommand
from textual.binding import Binding, BindingType
from textual.screen import Screen

from conself_local.round import process as round_process
from tui.app_state import AppState
from tui.screens.adapters import AdaptersScreen
from tui.screens.base import BaseScreen
from tui.screens.evaluation import EvaluationScreen
from tui.screens.help import HelpScreen
from tui.screens.pairs import PairsScreen
from tui.screens.playground import PlaygroundScreen
from tui.screens.problem import ProblemScreen
from tui.screens.problems import ProblemsScreen
from tui.screens.round import RoundScreen
from tui.screens.settings import SettingsScreen
from tui.screens.start import StartScreen
from tui.screens.training import TrainingScreen
from tui.widgets.ask_dialog import Confirm
from tui.widgets.nav_bar import SCREENS, NavBar

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


class ConselfApp(App[None]):
    """Shows one home; closing it stops nothing unless it is asked to."""

    TITLE = "conself"
    CSS_PATH = "app.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [
        *(Binding(key, f"go('{name}')", name, show=False) for key, name in SCREENS),
        Binding("question_mark", "help", "Help"),
        Binding("q", "leave", "Quit"),
    ]

    def __init__(self, app_state: AppState) -> None:
        super().__init__()
        self.app_state = app_state
        for screen in SCREEN_TYPES:
            self.add_mode(screen.NAME, lambda screen=screen: screen(self.app_state))  # type: ignore[misc]

    def on_mount(self) -> None:
        """Asked to end, or without its terminal, it ends like by q; a round goes on."""
        for asked in (signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(asked, self.exit)
        self.switch_mode("round" if round_process.running(self.app_state.home) else "start")

    def action_go(self, name: str) -> None:
        self.switch_mode(name)

    def on_nav_bar_chosen(self, event: NavBar.Chosen) -> None:
        self.switch_mode(event.name)

    def action_help(self) -> None:
        self.push_screen(HelpScreen([*SCREEN_TYPES, ProblemScreen]))

    def action_leave(self) -> None:
        """While a round runs, ask whether it goes on; it does unless it is stopped here."""
        if not round_process.running(self.app_state.home):
            self.exit()
            return

        def answered(goes_on: bool | None) -> None:
            if goes_on is False:
                round_process.stop(self.app_state.home)
            self.exit()

        self.push_screen(Confirm("A round is running. Shall it go on without this screen?"), answered)

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        yield from super().get_system_commands(screen)
        for key, name in SCREENS:
            yield SystemCommand(f"Go to {name}", f"key {key}", lambda name=name: self.action_go(name))
