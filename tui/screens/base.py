"""Provide the base class of all screens: the bar of screens, loading in a thread, and the message line.

The message line says what is wrong and what to do next. What a screen shows is up to its subclass.
"""

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
from textual.widgets import Footer

from conself_local.errors import ConselfError
from conself_local.store.store import Store
from sandbox import SandboxError
from tui.app_state import BUSY, AppState
from tui.widgets.nav_bar import NavBar
from tui.widgets.plain import Plain

EXPECTED_ERRORS = (ConselfError, SandboxError, sqlite3.Error, OSError, ValueError)
"""Errors that a screen shows in its message line; any other error is a bug and ends the app."""

_NOTICE_SECONDS = 10.0
_PAUSE_FACTOR = 4.0
"""After a load that took t seconds, the next automatic one waits for at least this factor times t."""


def format_error(error: Exception) -> str:
    """Return one line that says what is wrong and what to do about it."""
    if isinstance(error, ConselfError):
        return f"{error.message} -> {error.hint}" if error.hint else error.message
    if isinstance(error, sqlite3.Error):
        return f"the store cannot be read: {error} -> check the disk, run `conself verify`, and press r to try again"
    return f"{error}"


class BaseScreen(Screen[None]):
    """A screen that loads data in a thread and shows it; subclasses define `compose_body`, `load` and `show`.

    The data is loaded when the screen opens. If `REFRESH` is not 0, the screen checks every `REFRESH` seconds whether
    something was written to the store, and then loads again.
    """

    NAME: ClassVar[str] = ""
    REFRESH: ClassVar[float] = 0.0
    HORIZONTAL_BREAKPOINTS: list[tuple[int, str]] | None = [(0, "-narrow"), (100, "-wide")]  # noqa: RUF012
    ALWAYS: ClassVar[bool] = False
    """Whether to reload even if nothing was written to the store."""
    HELP: ClassVar[str] = ""
    """The text for the help screen: what the screen shows, and what its keys do."""
    BINDINGS: ClassVar[list[BindingType]] = [Binding("r", "reload", "Reload", show=False)]

    def __init__(self, app_state: AppState) -> None:
        super().__init__()
        self.app_state = app_state
        self._loading = self._load_again = False
        self._version = self._next_load = 0.0
        self._status = self._notice = ("", False)
        self._notice_timer: Timer | None = None

    def compose(self) -> ComposeResult:
        yield NavBar(self.NAME)
        yield from self.compose_body()
        yield Plain("", id="message")
        yield Footer(compact=True)

    def compose_body(self) -> ComposeResult:
        """Yield the widgets between the bar of screens and the message line."""
        raise NotImplementedError

    def load(self, store: Store) -> Any:
        """Return the data that `show` needs; runs in a thread, and may raise EXPECTED_ERRORS."""
        raise NotImplementedError

    def show(self, data: Any) -> None:
        """Show what `load` returned; runs in the app's own thread."""
        raise NotImplementedError

    def on_mount(self) -> None:
        if self.REFRESH:
            self.set_interval(self.REFRESH, self._reload_if_seen)

    def on_screen_resume(self) -> None:
        self.action_reload()

    def _reload_if_seen(self) -> None:
        """Reload if something was written, but so rarely that loading takes at most a fifth of the time."""
        if self.is_current and time.monotonic() >= self._next_load:
            self._watch()

    def action_reload(self) -> None:
        """Load and show; if a load is already running, repeat it once afterwards, so that loads never pile up."""
        if self._loading:
            self._load_again = True
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
            self._next_load = time.monotonic() + _PAUSE_FACTOR * (time.monotonic() - started)
        except EXPECTED_ERRORS as error:
            message = format_error(error)
            self.app_state.log_error(self.NAME, message)
            self.app.call_from_thread(self._loaded, lambda: self.set_status(message, is_error=True))
            return
        self.app.call_from_thread(self._loaded, lambda: self.show(data))

    @work(thread=True, group="store")
    def run_with_store(self, do: Callable[[Store], Any], then: Callable[[Any], None]) -> None:
        """Call `do` with the store in a thread, then `then` with the result in the app's own thread.

        The store may be locked for a while, and no key may wait for it. EXPECTED_ERRORS become a notice.
        """
        try:
            with self.app_state.reading() as store:
                result = do(store)
        except EXPECTED_ERRORS as error:
            self.app_state.log_error(self.NAME, format_error(error))
            self.app.call_from_thread(self.notify, format_error(error), severity="error")
            return
        if self.is_attached:
            self.app.call_from_thread(then, result)

    def _loaded(self, show: Callable[[], None]) -> None:
        self._loading = False
        if self.is_attached:
            show()
        if self._load_again:
            self._load_again = False
            self.action_reload()

    def set_status(self, text: str, *, is_error: bool = False) -> None:
        """Show the state of the screen and the next step above the keys; an empty text removes the line."""
        self._status = (text, is_error)
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
        """Show the result of a key for `timeout` seconds (default: ten), above the status.

        This replaces Textual's toasts, which would cover what they are about. Text from outside is never parsed as
        markup.
        """
        del markup
        self._notice = (f"{title}: {message}" if title else message, severity == "error")
        if self._notice_timer:
            self._notice_timer.stop()
        self._notice_timer = self.set_timer(timeout or _NOTICE_SECONDS, lambda: self.notify("")) if message else None
        self._draw_message()

    def _draw_message(self) -> None:
        parts = [part for part in (self._notice, self._status) if part[0]]
        line = self.query_one("#message", Plain)
        line.update("\n".join(f"! {text}" if is_error else text for text, is_error in parts))
        line.set_class(any(is_error for _, is_error in parts), "-bad")
        line.display = bool(parts)
