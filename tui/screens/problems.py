"""Show all problems of the round, sorted and filtered, and what another threshold would select."""

from __future__ import annotations

from typing import Any, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.widgets import Input

from conself_local.round.views import ENTROPY_NORMALISATIONS, ProblemRow, Selection, problem_rows
from conself_local.settings import Settings
from conself_local.store.reports import entropy_histogram
from conself_local.store.store import Store
from tui.screens.base import BaseScreen
from tui.screens.problem import ProblemScreen
from tui.widgets.big_table import BigTable
from tui.widgets.histogram import Histogram
from tui.widgets.plain import Plain

SORTS: tuple[tuple[str, Any], ...] = (
    ("original order", None),
    ("entropy", lambda row: -1.0 if row.entropy_bits is None else row.entropy_bits),
    ("crash rate", lambda row: row.crash_rate),
    ("clusters", lambda row: row.clusters),
    ("class", lambda row: row.kind),
)
_BAR = 8
_MOST_BITS = 4.0
_OFF = 1.02
"""A threshold above every normalised entropy, one step above 1; it selects every informative problem."""


class ProblemsScreen(BaseScreen):
    """The screen of the latest round's problems, one row per problem, with a threshold to try."""

    NAME = "problems"
    AUTO_FOCUS = "#table"
    REFRESH = 5.0
    HELP = (
        "Every problem with its entropy and class: too easy (all programs agree), learnable (selected), too hard, "
        "crashed. / filters, o sorts, left and right move the threshold and show what it would select, n changes the "
        "normalisation of the entropy, Enter opens a problem."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "filter", "Filter"),
        Binding("o", "sort", "Sort"),
        Binding("left", "threshold(-0.02)", "Threshold -"),
        Binding("right", "threshold(0.02)", "Threshold +"),
        Binding("n", "normalisation", "Normalise"),
    ]

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._rows: list[ProblemRow] = []
        self._settings = Settings()
        self._selection = Selection((), self._settings.selection.max_crash_rate)
        self._count = ""
        self._threshold: float | None = None
        self._normalisation = ""
        self._sort = 0

    def compose_body(self) -> ComposeResult:
        yield Input(placeholder="filter: a part of the name, or a class; Enter", id="filter", compact=True)
        yield Plain("", id="threshold")
        with Horizontal():
            columns = [
                ("problem", 28),
                ("entropy", _BAR + 5),
                ("clusters", 8),
                ("crash", 6),
                ("pairs", 5),
                ("class", 10),
            ]
            yield BigTable(columns, _cells, id="table")
            yield Histogram(id="histogram")

    def load(self, store: Store) -> Any:
        latest = store.latest_round()
        if latest is None:
            return None
        rows = problem_rows(store, latest.id)
        bins = entropy_histogram([row.entropy_bits for row in rows if row.score])
        return rows, latest.settings, Selection(rows, latest.settings.selection.max_crash_rate), bins

    def show(self, data: Any) -> None:
        if data is None:
            self.set_status("No round yet. Press 1 to start one.")
            return
        self._rows, self._settings, self._selection, bins = data
        if self._threshold is None:
            of_round = self._settings.selection.entropy_threshold
            self._threshold = _OFF if of_round is None else of_round
        self._normalisation = self._normalisation or self._settings.selection.entropy_normalisation
        self._arrange()
        self.query_one(Histogram).show(bins, "problems by entropy (bits):")
        self.set_status(
            ""
            if any(b["count"] for b in bins)
            else "No problem has been scored yet. Press 2 to see how far the round is."
        )

    def _arrange(self) -> None:
        wanted = self.query_one("#filter", Input).value.strip().lower()
        rows = [row for row in self._rows if wanted in row.id.lower() or wanted in row.kind] if wanted else self._rows
        name, key = SORTS[self._sort]
        self.query_one("#table", BigTable).set_rows(sorted(rows, key=key, reverse=True) if key else rows)
        self._count = f"{len(rows)} of {len(self._rows)} problems, by {name}"
        self._show_threshold()

    def _show_threshold(self) -> None:
        assert self._threshold is not None, "set when the problems are shown"
        filled = round(20 * min(1.0, self._threshold))
        parts = []
        for normalisation in ENTROPY_NORMALISATIONS:
            problems, pairs = self._selection.count(normalisation, self._threshold)
            mark = "▶" if normalisation == self._normalisation else " "
            parts.append(f"{mark}{normalisation}: {problems} problems, {pairs} pairs")
        bar = "█" * filled + "░" * (20 - filled)
        self.query_one("#threshold", Plain).update(
            f"{self._count}   threshold [{bar}] {_format(self._threshold)}  would select  {'   '.join(parts)}"
            f"   (this round: {_describe(self._settings)})"
        )

    def action_threshold(self, by: float) -> None:
        if self._threshold is not None:
            self._threshold = min(_OFF, max(0.0, round(self._threshold + by, 2)))
            self._show_threshold()

    def action_normalisation(self) -> None:
        self._normalisation = "log2" if self._normalisation == "min-max" else "min-max"
        if self._rows:
            self._show_threshold()

    def action_sort(self) -> None:
        self._sort = (self._sort + 1) % len(SORTS)
        if self._rows:
            self._arrange()

    def action_filter(self) -> None:
        self.query_one("#filter").focus()

    @on(Input.Changed, "#filter")
    def _filter_changed(self) -> None:
        if self._rows:
            self._arrange()

    @on(Input.Submitted, "#filter")
    def _filtered(self) -> None:
        self.query_one("#table").focus()

    @on(BigTable.Chosen)
    def _open(self, event: BigTable.Chosen) -> None:
        latest = self.app_state.latest_round()
        if latest is not None:
            self.app.push_screen(ProblemScreen(self.app_state, latest, event.row.id))


def _format(threshold: float) -> str:
    return "off" if threshold >= _OFF else f"{threshold:.2f}"


def _describe(settings: Settings) -> str:
    threshold = settings.selection.entropy_threshold
    return f"{settings.selection.entropy_normalisation} {_format(_OFF if threshold is None else threshold)}"


def _cells(row: ProblemRow) -> list[str]:
    if row.score is None:
        return [row.id, "", "", "", "", row.kind]
    bits = row.entropy_bits
    bar = "none valid" if bits is None else f"{bits:4.2f} " + "█" * round(_BAR * min(bits, _MOST_BITS) / _MOST_BITS)
    return [row.id, bar, str(row.clusters), f"{row.crash_rate:.0%}", str(row.pairs), row.kind]
