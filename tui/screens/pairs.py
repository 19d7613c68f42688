"""Show the preference pairs: chosen against rejected, why each was built, and which are left out of training."""

from __future__ import annotations

from typing import Any, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Vertical
from textual.timer import Timer

from conself_local.round.views import pair_rows
from conself_local.store.store import Store
from tui.app_state import AppState
from tui.design import DONE, GOOD, LEFT_OUT, MUTED
from tui.screens.rounds import ShowsRound
from tui.widgets.big_table import BigTable, Cells, Column
from tui.widgets.diff_view import DiffView
from tui.widgets.panel import Panel
from tui.widgets.plain import Plain

_DRAW_DELAY_S = 0.08


class PairsScreen(ShowsRound):
    """The screen of a round's pairs; a key leaves a pair out of training."""

    NAME = "pairs"
    AUTO_FOCUS = "#pairs"
    REFRESH = 5.0
    HELP = (
        "The pairs for training: two programs for the same prompt. Training makes the chosen one, on the left, more "
        "likely and the rejected one less. Agrees says how often a program gives the same outputs as the others, from"
        " 0 to 1. Space leaves a pair out of training, or takes it back."
    )
    BINDINGS: ClassVar[list[BindingType]] = [Binding("space", "leave_out", "Leave out, take back")]

    def __init__(self, app_state: AppState) -> None:
        super().__init__(app_state)
        self._draw_timer: Timer | None = None

    def compose_body(self) -> ComposeResult:
        with Container(id="both"):
            with Panel(heading="Pairs", keys="space leave out, take back", id="list"):
                columns = [
                    Column("", 1),
                    Column("problem", 10, grows=True),
                    Column("weight", 6, right=True),
                    Column("agrees c / r", 12, right=True),
                ]
                yield BigTable(columns, _cells, id="pairs")
            with Panel(heading="Chosen and rejected", id="sides"), Vertical():
                yield DiffView()
                yield Plain("", id="why")

    def load(self, store: Store) -> Any:
        shown = self.shown_round(store)
        return pair_rows(store, shown.id) if shown else None

    def show(self, data: Any) -> None:
        rows = data or []
        self.query_one("#both").display = bool(rows)
        table = self.query_one("#pairs", BigTable)
        table.set_rows(rows, key=lambda row: row["id"])
        if table.row:
            self._show_pair(table.row)
        left_out = sum(row["excluded"] for row in rows)
        self.query_one("#list", Panel).set_heading(f"Pairs  {len(rows) - left_out:,} to train · {left_out:,} left out")
        empty = "No pairs yet. They are built after the programs are scored: press 2 to see how far the round is."
        self.set_status("" if rows else f"{empty}{self.hint_of_earlier}")

    def _show_pair(self, row: dict[str, Any]) -> None:
        self.query_one("#why", Plain).update(f"Why: {row['why']}.")
        self.query_one("#sides", Panel).set_heading(f"Chosen and rejected  {row['problem_id']}")
        titles = (
            f"chosen, agrees {_agrees(row['chosen_consensus'])}",
            f"rejected, agrees {_agrees(row['rejected_consensus'])}",
        )
        self.query_one(DiffView).show(row["chosen"], row["rejected"], titles)

    @on(BigTable.Moved)
    def _moved(self, event: BigTable.Moved) -> None:
        """Draw the pair once the cursor has rested on it for a moment; the cursor itself moves at once."""
        if self._draw_timer:
            self._draw_timer.stop()
        self._draw_timer = self.set_timer(_DRAW_DELAY_S, lambda: self._show_pair(event.row))

    def action_leave_out(self) -> None:
        row = self.query_one("#pairs", BigTable).row
        if row:
            said = (
                "Taken back: training uses this pair."
                if row["excluded"]
                else "Left out of training; space takes it back."
            )

            def changed(_: object) -> None:
                self.notify(said)
                self.action_reload()

            self.run_with_store(lambda store: store.exclude_pair(row["id"], not row["excluded"]), changed)


def _agrees(consensus: float | None) -> str:
    return "?" if consensus is None else f"{consensus:.2f}"


def _cells(row: dict[str, Any]) -> Cells:
    out = bool(row["excluded"])
    both = f"{_agrees(row['chosen_consensus'])} / {_agrees(row['rejected_consensus'])}"
    mark, style = (LEFT_OUT, MUTED) if out else (DONE, GOOD)
    plain = MUTED if out else ""
    return [(mark, style), (row["problem_id"], plain), (f"{row['weight']:.2f}", plain), (both, plain)]
