"""Show the preference pairs: chosen against rejected, why each was built, and which are excluded from training."""

from __future__ import annotations

from typing import Any, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.timer import Timer

from conself_local.round.views import pair_rows
from conself_local.store.store import Store
from tui.app_state import AppState
from tui.screens.base import BaseScreen
from tui.widgets.big_table import BigTable
from tui.widgets.diff_view import DiffView
from tui.widgets.plain import Plain

_DRAW_DELAY_S = 0.08


class PairsScreen(BaseScreen):
    """The screen of the latest round's pairs; a key excludes a pair from training."""

    NAME = "pairs"
    AUTO_FOCUS = "#pairs"
    HELP = (
        "The pairs for training: two programs for the same prompt, the preferred one on the left. x excludes a pair "
        "from training, or includes it again."
    )
    BINDINGS: ClassVar[list[BindingType]] = [Binding("x", "exclude", "Exclude / include")]

    def __init__(self, app_state: AppState) -> None:
        super().__init__(app_state)
        self._draw_timer: Timer | None = None

    def compose_body(self) -> ComposeResult:
        with Vertical():
            yield BigTable([("", 9), ("problem", 30), ("weight", 6), ("why", 80)], _cells, id="pairs")
            yield Plain("", id="why")
            yield DiffView()

    def load(self, store: Store) -> Any:
        latest = store.latest_round()
        return pair_rows(store, latest.id) if latest else None

    def show(self, data: Any) -> None:
        rows = data or []
        table = self.query_one("#pairs", BigTable)
        table.set_rows(rows)
        if table.row:
            self._show_pair(table.row)
        excluded = sum(row["excluded"] for row in rows)
        empty = "No pairs yet. They are built after the programs are scored: press 2 to see how far the round is."
        counts = f"{len(rows)} pairs, {excluded} excluded from training. x excludes a pair, or includes it again."
        self.set_status(counts if rows else empty)

    def _show_pair(self, row: dict[str, Any]) -> None:
        self.query_one("#why", Plain).update(row["why"])
        self.query_one(DiffView).show(row["chosen"], row["rejected"], ("chosen", "rejected"))

    @on(BigTable.Moved)
    def _moved(self, event: BigTable.Moved) -> None:
        """Draw the pair once the cursor has rested on it for a moment; the cursor itself moves at once."""
        if self._draw_timer:
            self._draw_timer.stop()
        self._draw_timer = self.set_timer(_DRAW_DELAY_S, lambda: self._show_pair(event.row))

    def action_exclude(self) -> None:
        row = self.query_one("#pairs", BigTable).row
        if row:
            self.run_with_store(
                lambda store: store.exclude_pair(row["id"], not row["excluded"]), lambda _: self.action_reload()
            )


def _cells(row: dict[str, Any]) -> list[str]:
    return ["excluded" if row["excluded"] else "", row["problem_id"], f"{row['weight']:.2f}", row["why"]]
