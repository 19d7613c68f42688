"""Provide the base class of all screens: the frame, loading in a thread, results of keys, and the line of states.

The frame is the state of the home, the bar of screens and the keys. The line of states says how things are on this
screen and what to do next; what a key did is a toast. What a screen shows is up to its subclass.
"""

from __future__ import annotations

import dataclasses
import sqlite3
import time
from collections.abc import Callable
from typing import Any, ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.notifications import SeverityLevel
from textual.screen import Screen
from textual.widgets import Footer, Input, TextArea

from conself_local.errors import ConselfError
from conself_local.foreign_text import shown
from conself_local.machine.resources import available_memory_bytes, usable_cores
from conself_local.machine.room import gib
from conself_local.round.overview import Overview, StepState, overview
from conself_local.store.store import Store
from sandbox import SandboxError
from tui.app_state import BUSY, AppState
from tui.design import DONE, FAILED, IN_USE, LEFT_OUT, LOOK, NOT_BEGUN, PAUSED, RUNNING, model_name, plural, signed
from tui.widgets.home_line import HomeLine
from tui.widgets.nav_bar import NavBar
from tui.widgets.panel import Panel
from tui.widgets.plain import Plain

EXPECTED_ERRORS = (ConselfError, SandboxError, sqlite3.Error, OSError, ValueError)
"""Errors that a screen shows in its line of states; any other error is a bug and ends the app."""

SIGN_OF_STEP: dict[StepState, str] = {
    "not begun": NOT_BEGUN,
    "running": RUNNING,
    "paused": PAUSED,
    "look": LOOK,
    "failed": FAILED,
    "done": DONE,
    "left out": LEFT_OUT,
}
_PAUSE_FACTOR = 4.0
"""After a load that took t seconds, the next automatic one waits for at least this factor times t."""
_FRAME_SECONDS = 3.0


def format_error(error: Exception) -> str:
    """Return one line that says what is wrong and what to do about it."""
    if isinstance(error, ConselfError):
        return f"{error.message} -> {error.hint}" if error.hint else error.message
    if isinstance(error, sqlite3.Error):
        return f"the store cannot be read: {error} -> check the disk, run `conself verify`, and press r to try again"
    return f"{error}"


def describe_state(seen: Overview) -> Content:
    """Return the state of the home in one line, with its sign."""
    name = f"round {seen.round_id}"
    sign, text = {
        "none": (NOT_BEGUN, "nothing yet: 1 starts a round"),
        "starting": (RUNNING, "a round is starting"),
        "running": (RUNNING, f"{name} is running"),
        "paused": (PAUSED, f"{name} is paused: 2, then p"),
        "stopped": (LOOK, f"{name} is not finished: 2, then s"),
        "failed": (FAILED, f"{name if seen.round_id else 'the round'} ended early: 2 says why"),
        "done": (DONE, f"{name}: {seen.outcome}"),
    }[seen.state]
    return signed(sign, text)


class BaseScreen(Screen[None]):
    """A screen that loads data in a thread and shows it; subclasses define `compose_body`, `load` and `show`.

    The data is loaded when the screen opens. If `REFRESH` is not 0, the screen checks every `REFRESH` seconds whether
    something was written to the store, and then loads again; the frame is kept up to date on every screen.
    """

    NAME: ClassVar[str] = ""
    REFRESH: ClassVar[float] = 0.0
    HORIZONTAL_BREAKPOINTS: list[tuple[int, str]] | None = [(0, "-tiny"), (100, "-usual"), (160, "-wide")]  # noqa: RUF012
    VERTICAL_BREAKPOINTS: list[tuple[int, str]] | None = [(0, "-short"), (32, "-tall")]  # noqa: RUF012
    STATE_IN_PANEL: ClassVar[bool] = True
    """Whether a small terminal shows the state of the home in the border of the first panel."""
    ALWAYS: ClassVar[bool] = False
    """Whether to reload even if nothing was written to the store."""
    HELP: ClassVar[str] = ""
    """The text for the help screen: what the screen shows, and what its keys do."""
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("r", "reload", "Reload", show=False),
        Binding("escape", "leave_field", "Leave the field"),
    ]

    def __init__(self, app_state: AppState) -> None:
        super().__init__()
        self.app_state = app_state
        self._loading = self._load_again = False
        self._version = self._next_load = 0.0
        self._overview: Overview | None = None

    def compose(self) -> ComposeResult:
        yield HomeLine(id="home-line")
        yield NavBar(self.NAME)
        yield from self.compose_body()
        yield Plain("", id="message")
        yield Footer(compact=True, show_command_palette=False)

    def compose_body(self) -> ComposeResult:
        """Yield the widgets between the bar of screens and the line of states."""
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
        self.set_interval(_FRAME_SECONDS, self._look_at_home)

    def on_screen_resume(self) -> None:
        self.action_reload()

    def on_resize(self) -> None:
        if self._overview:
            self._show_home(self._overview)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Return whether a key acts now: Esc leaves a field only if one has the focus."""
        if action == "leave_field":
            return isinstance(self.focused, (Input, TextArea))
        return super().check_action(action, parameters)

    def action_leave_field(self) -> None:
        """Give the focus back to what had it when the screen opened; nothing else changes."""
        focus = self.query(self.AUTO_FOCUS) if self.AUTO_FOCUS else None
        self.set_focus(focus.first() if focus else None)

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

    def _look_at_home(self) -> None:
        if self.is_current and not self._loading:
            self._load_home()

    @work(thread=True, group="home", exclusive=True)
    def _load_home(self) -> None:
        try:
            with self.app_state.reading() as store:
                seen = self._look_over(store)
        except EXPECTED_ERRORS:
            return  # the screen's own load says what is wrong
        self.app.call_from_thread(self._show_home, seen)

    def _look_over(self, store: Store) -> Overview:
        """Return the state of the home; a round that was started from here counts before it has the home's lock."""
        seen = overview(store, self.app_state.home)
        return dataclasses.replace(seen, state="starting") if self.app_state.round_is_starting else seen

    @work(thread=True, group="load")
    def _load(self) -> None:
        started = time.monotonic()
        try:
            self._version = self.app_state.version()
            with self.app_state.reading() as store:
                seen = self._look_over(store)
                data = self.load(store)
            self._next_load = time.monotonic() + _PAUSE_FACTOR * (time.monotonic() - started)
        except EXPECTED_ERRORS as error:
            message = format_error(error)
            self.app_state.log_error(self.NAME, message)
            self.app.call_from_thread(self._loaded, lambda: self.set_status(message, is_error=True))
            return

        def show() -> None:
            self._show_home(seen)
            self.show(data)

        self.app.call_from_thread(self._loaded, show)

    @work(thread=True, group="store")
    def run_with_store(self, do: Callable[[Store], Any], then: Callable[[Any], None]) -> None:
        """Call `do` with the store in a thread, then `then` with the result in the app's own thread.

        The store may be locked for a while, and no key may wait for it. EXPECTED_ERRORS become a toast.
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

    def _show_home(self, seen: Overview) -> None:
        """Draw the frame; a terminal too narrow for the first line has the state in the border of the first panel."""
        if not self.is_attached or not self.query(HomeLine):
            return  # the screen is closing
        self._overview = seen
        state = describe_state(seen)
        line = self.query_one(HomeLine)
        line.state = state
        memory = available_memory_bytes()
        parts = [model_name(seen.model), plural(usable_cores(), "core"), f"{gib(memory)} free" if memory else ""]
        line.computer = shown(" · ".join(part for part in parts if part), lines=False)
        signs = {step: SIGN_OF_STEP[how] for step, how in seen.steps.items()}
        if signs.get("adapters"):
            signs["adapters"] = IN_USE if signs["adapters"] == DONE else ""
        self.query_one(NavBar).signs = signs
        panels = self.query(Panel)
        if panels:
            panels.first().set_aside(state if self.has_class("-tiny") and self.STATE_IN_PANEL else "")

    def set_status(self, text: str, *, is_error: bool = False, warn: bool = False) -> None:
        """Show the state of the screen and the next step above the keys; an empty text removes the line."""
        line = self.query_one("#message", Plain)
        sign = f"{FAILED} " if is_error else f"{LOOK} " if warn else ""
        line.update(f"{sign}{text}" if text else "")
        line.set_class(is_error, "-bad")
        line.set_class(warn, "-warn")
        line.display = bool(text)

    def notify(
        self,
        message: str,
        *,
        title: str = "",
        severity: SeverityLevel = "information",
        timeout: float | None = None,
        markup: bool = False,
    ) -> None:
        """Show the result of a key as a toast. Text from outside is never parsed as markup."""
        del markup
        sign = {"error": f"{FAILED} ", "warning": f"{LOOK} "}.get(severity, "")
        super().notify(f"{sign}{shown(message)}", title=title, severity=severity, timeout=timeout, markup=False)
