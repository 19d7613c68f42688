"""Show everything that the rounds of this home noticed, over the present screen."""

from __future__ import annotations

from typing import ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen

from conself_local.store.events import load_all_events
from conself_local.store.store import Row
from tui.app_state import AppState
from tui.screens.base import EXPECTED_ERRORS, format_error
from tui.widgets.dialog import dialog_box
from tui.widgets.notice_list import notice_lines
from tui.widgets.plain import Plain, title

_MOST = 1000


class NoticesScreen(ModalScreen[None]):
    """All notices, the latest round first; Escape closes the list."""

    AUTO_FOCUS = "VerticalScroll"
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,w,q", "dismiss(None)", "Back")]

    def __init__(self, app_state: AppState) -> None:
        super().__init__()
        self._app_state = app_state

    def compose(self) -> ComposeResult:
        with dialog_box("Notices of all rounds", "! look   · to know   Esc closes", large=True), VerticalScroll():
            yield Plain("reading ...", id="all-notices")

    def on_mount(self) -> None:
        self._load()

    @work(thread=True)
    def _load(self) -> None:
        try:
            with self._app_state.reading() as store:
                notices = load_all_events(store, _MOST)
        except EXPECTED_ERRORS as error:
            self.app.call_from_thread(self.query_one("#all-notices", Plain).update, format_error(error))
            return
        self.app.call_from_thread(self._show, notices)

    def _show(self, notices: list[Row]) -> None:
        self.query_one(".dialog").border_title = title(f"Notices of all rounds  {len(notices):,}")
        self.query_one("#all-notices", Plain).update(notice_lines(notices, with_round=True))
