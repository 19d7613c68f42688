"""What all screens share: the bar of screens, loading in a thread, and one line that says what is wrong and what to do."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from typing import Any, ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.notifications import SeverityLevel
from textual.screen import Screen
from textual.timer import Timer
from textual.widgets import Footer, Static

from conself_local.errors import ConselfError
from conself_local.store.store import Store
from sandbox import SandboxError
from tui.app_state import BUSY, AppState
from tui.widgets.nav_bar import NavBar

EXPECTED_ERRORS = (ConselfError, SandboxError, sqlite3.Error, OSError, ValueError)
"""Errors that a screen tells in a line; any other is a bug and ends the app."""

_SAID_SECONDS = 10.0
_REST = 4.0
"""So many times as long as a load took there is none."""


def format_error(error: Exception) -> str:
    """What is wrong, and what to do about it."""
    if isinstance(error, ConselfError):
        return f"{error.message} -> {error.hint}" if error.hint else error.message
    if isinstance(error, sqlite3.Error):
        return f"the store cannot be read: {error} -> check the disk; `conself verify` checks the store; r tries again"
    return f"{error}"


class BaseScreen(Screen[None]):
    """Subclasses give `compose_body`, `load` (in a thread) and `show`; `REFRESH` seconds apart, or once where it is 0."""

    NAME: ClassVar[str] = ""
    REFRESH: ClassVar[float] = 0.0
    HORIZONTAL_BREAKPOINTS: list[tuple[int, str]] | None = [(0, "-narrow"), (100, "-wide")]  # noqa: RUF012
    ALWAYS: ClassVar[bool] = False
    """Reload although nothing was written."""
    HELP: ClassVar[str] = ""
    """For the help screen: what one sees here and does."""
    BINDINGS: ClassVar[list[BindingType]] = [Binding("r", "reload", "Reload", show=False)]

    def __init__(self, app_state: AppState) -> None:
        super().__init__()
        self.app_state = app_state
        self._loading = self._again = False
        self._version = self._next_load = 0.0
        self._state = self._said = ("", False)
        self._forget: Timer | None = None

    def compose(self) -> ComposeResult:
        yield NavBar(self.NAME)
        yield from self.compose_body()
        yield Static("", id="message", markup=False)
        yield Footer(compact=True)

    def compose_body(self) -> ComposeResult:
        raise NotImplementedError

    def load(self, store: Store) -> Any:
        """What `show` needs; runs in a thread."""
        raise NotImplementedError

    def show(self, data: Any) -> None:
        raise NotImplementedError

    def on_mount(self) -> None:
        if self.REFRESH:
            self.set_interval(self.REFRESH, self._reload_if_seen)

    def on_screen_resume(self) -> None:
        self.action_reload()

    def _reload_if_seen(self) -> None:
        """Where something was written, and not so often that loading takes more than a fifth of the time."""
        if self.is_current and time.monotonic() >= self._next_load:
            self._watch()

    def action_reload(self) -> None:
        """Load and show; once more after a load that is under way, so that loads never pile up."""
        if self._loading:
            self._again = True
            return
        self._loading = True
        self._load()

    @work(thread=True, group="watch", exclusive=True)
    def _watch(self) -> None:
        version = self.app_state.version()
        if version != BUSY and (version != self._version or self.ALWAYS):
            self.app.call_from_thread(self.action_reload)

    @work(thread=True, group="load")
    def _load(self) -> None:
        started = time.monotonic()
        try:
            self._version = self.app_state.version()
            with self.app_state.reading() as store:
                data = self.load(store)
            self._next_load = time.monotonic() + _REST * (time.monotonic() - started)
        except EXPECTED_ERRORS as error:
            words = format_error(error)
            self.app.call_from_thread(self._loaded, lambda: self.set_status(words, bad=True))
            return
        self.app.call_from_thread(self._loaded, lambda: self.show(data))

    @work(thread=True, group="store")
    def run_with_store(self, do: Callable[[Store], Any], then: Callable[[Any], None]) -> None:
        """`do` with the store, in a thread: it may be locked for a while, and no key shall wait; `then` shows what came of it."""
        try:
            with self.app_state.reading() as store:
                result = do(store)
        except EXPECTED_ERRORS as error:
            words = format_error(error)
            self.app.call_from_thread(self.notify, words, severity="error")
            return
        if self.is_attached:
            self.app.call_from_thread(then, result)

    def _loaded(self, show: Callable[[], None]) -> None:
        self._loading = False
        if self.is_attached:
            show()
        if self._again:
            self._again = False
            self.action_reload()

    def set_status(self, text: str, *, bad: bool = False) -> None:
        """How things stand and the next step, above the keys; empty takes it away."""
        self._state = (text, bad)
        self._draw_message()

    def notify(
        self,
        message: str,
        *,
        title: str = "",
        severity: SeverityLevel = "information",
        timeout: float | None = None,
        markup: bool = False,
    ) -> None:
        """Show what came of a key for `timeout` seconds (default: ten), above how things stand.

        Takes the place of Textual's toasts, which cover what they are about. Foreign text is never parsed as markup.
        """
        del markup
        self._said = (f"{title}: {message}" if title else message, severity == "error")
        if self._forget:
            self._forget.stop()
        self._forget = self.set_timer(timeout or _SAID_SECONDS, lambda: self.notify("")) if message else None
        self._draw_message()

    def _draw_message(self) -> None:
        parts = [part for part in (self._said, self._state) if part[0]]
        line = self.query_one("#message", Static)
        line.update("\n".join(f"! {text}" if bad else text for text, bad in parts))
        line.set_class(any(bad for _, bad in parts), "-bad")
        line.display = bool(parts)
