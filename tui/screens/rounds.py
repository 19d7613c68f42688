"""Let a screen show an earlier round: comma goes back and full stop forward, for all such screens together."""

from __future__ import annotations

from typing import ClassVar

from textual.binding import Binding, BindingType

from conself_local.round.overview import Overview
from conself_local.store.store import RoundInfo, Store
from tui.design import LOOK, signed
from tui.screens.base import BaseScreen
from tui.widgets.panel import Panel


class ShowsRound(BaseScreen):
    """A screen of what one round made; it shows the latest round until another one is chosen."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("comma", "other_round(-1)", "Round before", show=False),
        Binding("full_stop", "other_round(1)", "Round after", show=False),
    ]

    def shown_round(self, store: Store) -> RoundInfo | None:
        """Return the round to show; None if the home has no round."""
        chosen = self.app_state.shown_round
        return store.latest_round() if chosen is None else store.round(chosen)

    @property
    def hint_of_earlier(self) -> str:
        """What to say where the shown round has nothing yet; empty if there is no round before it."""
        seen = self._overview
        has_earlier = seen is not None and (seen.round_id or 0) > 1 and self.app_state.shown_round is None
        return " The key , shows the round before." if has_earlier else ""

    def action_other_round(self, by: int) -> None:
        """Show the round before (-1) or after (1)."""

        def find(store: Store) -> tuple[int | None, bool]:
            now = self.shown_round(store)
            other = store.neighbour_round(now.id, by) if now else None
            return other, other is not None and store.neighbour_round(other, 1) is None

        def found(answer: tuple[int | None, bool]) -> None:
            other, is_latest = answer
            if other is None:
                self.notify("There is no earlier round." if by < 0 else "This is the latest round.")
                return
            self.app_state.shown_round = None if is_latest else other
            self.notify(f"Round {other}, the latest." if is_latest else f"Round {other}; the key . shows the next one.")
            self.action_reload()

        self.run_with_store(find, found)

    def _show_home(self, seen: Overview) -> None:
        super()._show_home(seen)
        shown, panels = self.app_state.shown_round, self.query(Panel)
        if shown is not None and panels:
            panels.first().set_aside(signed(LOOK, f"round {shown}"))
