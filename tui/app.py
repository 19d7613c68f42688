"""The app: theme, the first screen, global keys. It wires and does not work."""

from __future__ import annotations

from typing import ClassVar

from textual.app import App
from textual.binding import Binding, BindingType

from conself_local.store.store import Store
from tui.screens.round import RoundScreen


class ConselfApp(App[None]):
    """Watches the store of one home; closing it stops nothing."""

    TITLE = "conself"
    CSS_PATH = "app.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [Binding("q", "quit", "Quit (the round goes on)")]

    def __init__(self, store: Store) -> None:
        super().__init__()
        self._store = store

    def on_mount(self) -> None:
        self.push_screen(RoundScreen(self._store))
