"""Show all problems of the round, why each is learnable or not, and what another cut would select."""

from __future__ import annotations

from typing import Any, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.content import Content
from textual.timer import Timer
from textual.widgets import Input

from conself_local.round.reasons import why_class
from conself_local.round.views import ENTROPY_NORMALISATIONS, ProblemRow, Selection, problem_rows
from conself_local.settings import Settings
from conself_local.store.reports import entropy_histogram
from conself_local.store.store import Store
from tui.design import ACTIVE, LEFT_OUT, MUTED, SIGN_OF_CLASS, STYLE_OF_SIGN, plain, plural, rough_percent, signed
from tui.screens.problem import ProblemScreen
from tui.screens.rounds import ShowsRound
from tui.widgets.big_table import BigTable, Cells, Column
from tui.widgets.histogram import Histogram
from tui.widgets.panel import Panel
from tui.widgets.plain import Plain

SORTS: tuple[tuple[str, Any], ...] = (
    ("in their order", None),
    ("most disagreement first", lambda row: -1.0 if row.entropy_bits is None else row.entropy_bits),
    ("most crashes first", lambda row: row.crash_rate),
    ("most groups first", lambda row: row.clusters),
    ("by class", lambda row: row.kind),
)
_BAR = 8
_MOST_BITS = 4.0
_DRAW_DELAY_S = 0.08
_OFF = 1.02
"""A cut above every normalised entropy, one step above 1; it selects every informative problem."""


class ProblemsScreen(ShowsRound):
    """The screen of a round's problems, one row per problem, with a cut to try."""

    NAME = "problems"
    AUTO_FOCUS = "#table"
    REFRESH = 5.0
    HELP = (
        "Every problem with the disagreement of its programs, in bits: 0 if all behave alike. The box beside it says "
        "why the problem under the cursor is, or is not, one to learn from. / filters by name or class (Esc leaves "
        "the field), o changes the order, Enter opens a problem. Left and right move the cut, and m changes how "
        "disagreement is measured: min-max compares it with the other problems of the round, log2 with the most that "
        "so many programs can disagree. Both only show what another cut would select; the round keeps its own."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "filter", "Filter"),
        Binding("o", "sort", "Order"),
        Binding("left", "cut(-0.02)", "Cut", key_display="←→"),
        Binding("right", "cut(0.02)", "Cut +", show=False),
        Binding("m", "measure", "Measure"),
    ]

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._round_id = 0
        self._rows: list[ProblemRow] = []
        self._settings = Settings()
        self._selection = Selection((), self._settings.selection.max_crash_rate)
        self._cut: float | None = None
        self._measure = ""
        self._sort = 0
        self._draw_timer: Timer | None = None

    def compose_body(self) -> ComposeResult:
        with Horizontal(id="both"):
            with Panel(heading="Problems", keys="/ filter   o order   Enter open", id="list"):
                yield Input(placeholder="part of a name, or a class", id="filter", compact=True)
                columns = [
                    Column("problem", 16, grows=True),
                    Column("disagreement", _BAR + 5),
                    Column("groups", 6, right=True),
                    Column("crashed", 7, right=True, from_width=60),
                    Column("pairs", 5, right=True),
                    Column("  class", 11),
                ]
                yield BigTable(columns, _cells, id="table")
            with Panel(heading="What a round would learn from", keys="←→ cut   m measure", id="learn"):
                yield Plain("", id="cut")
                yield Histogram(id="histogram")
        with Panel(heading="Why", keys="Enter opens the problem", id="why"), VerticalScroll():
            yield Plain("", id="reason")

    def load(self, store: Store) -> Any:
        shown = self.shown_round(store)
        if shown is None:
            return None
        rows = problem_rows(store, shown.id)
        bins = entropy_histogram([row.entropy_bits for row in rows if row.score])
        return shown, rows, Selection(rows, shown.settings.selection.max_crash_rate), bins

    def show(self, data: Any) -> None:
        self.query_one("#both").display = self.query_one("#why").display = data is not None
        if data is None:
            self.set_status("No round yet, so there are no problems to show. Press 1 to start one.")
            return
        shown, self._rows, self._selection, bins = data
        self._round_id, self._settings = shown.id, shown.settings
        if self._cut is None:
            of_round = self._settings.selection.entropy_threshold
            self._cut = _OFF if of_round is None else of_round
        self._measure = self._measure or self._settings.selection.entropy_normalisation
        self._arrange()
        scored = any(b["count"] for b in bins)
        histogram = self.query_one(Histogram)
        histogram.show(bins)
        self.set_class(not scored, "-unscored")
        self.set_status(
            ""
            if scored
            else f"No problem has been scored yet. Press 2 to see how far the round is.{self.hint_of_earlier}"
        )

    def _arrange(self) -> None:
        wanted = self.query_one("#filter", Input).value.strip().lower()
        rows = [row for row in self._rows if wanted in row.id.lower() or wanted in row.kind] if wanted else self._rows
        name, key = SORTS[self._sort]
        ordered = sorted(rows, key=key, reverse=True) if key else rows
        self.query_one("#table", BigTable).set_rows(ordered, key=lambda row: row.id)
        self.query_one("#list", Panel).set_heading(f"Problems  {len(rows):,} of {len(self._rows):,} · {name}")
        if not rows:
            self.query_one("#reason", Plain).update("No problem matches the filter. / changes it.")
        self._show_cut()

    def _show_cut(self) -> None:
        assert self._cut is not None, "set when the problems are shown"
        at = round(20 * min(1.0, self._cut))
        of_round = self._settings.selection.entropy_threshold
        own = "no cut" if of_round is None else f"cut {of_round:.2f}"
        measure_of_round = self._settings.selection.entropy_normalisation
        selected = sum(row.kind == "learnable" for row in self._rows)
        this = Content.styled(f"this round: {measure_of_round}, {own}: {plural(selected, 'problem')}", MUTED)
        bar = Content.assemble("cut ", ("━" * at + "●" + "─" * (20 - at), ACTIVE), f" {_format(self._cut)}")
        tiny = self.has_class("-tiny")
        lines = [Content.assemble(bar, "   ", this)] if tiny else [bar]
        for measure in ENTROPY_NORMALISATIONS:
            problems, pairs = self._selection.count(measure, self._cut)
            chosen = measure == self._measure
            text = f"{'▸' if chosen else ' '} {measure:<8}{plural(problems, 'problem')}, {plural(pairs, 'pair')}"
            lines.append(Content.styled(text, "bold" if chosen else MUTED))
        if not tiny:
            lines.append(this)
        self.query_one("#cut", Plain).update(Content("\n").join(lines))

    def action_cut(self, by: float) -> None:
        if self._cut is not None:
            self._cut = min(_OFF, max(0.0, round(self._cut + by, 2)))
            self._show_cut()

    def action_measure(self) -> None:
        self._measure = "log2" if self._measure == "min-max" else "min-max"
        if self._rows:
            self._show_cut()

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

    @on(BigTable.Moved, "#table")
    def _moved(self, event: BigTable.Moved) -> None:
        """Say why once the cursor has rested for a moment; the cursor itself moves at once."""
        if self._draw_timer:
            self._draw_timer.stop()
        self._draw_timer = self.set_timer(_DRAW_DELAY_S, lambda: self._explain(event.row))

    def _explain(self, row: ProblemRow) -> None:
        sign = SIGN_OF_CLASS[row.kind]
        bits = "" if row.entropy_bits is None else f" · {row.entropy_bits:.2f} bits · {plural(row.clusters, 'group')}"
        self.query_one("#why", Panel).set_heading(f"Why  {row.id}  {sign} {row.kind}{bits}")
        reason = why_class(row, self._settings)
        self.query_one("#reason", Plain).update(signed(sign, reason))

        def read(statement: str) -> None:
            if self.query_one("#table", BigTable).row is row:
                self.query_one("#reason", Plain).update(
                    Content.assemble(signed(sign, reason), "\n", plain(statement[:600], MUTED))
                )

        self.run_with_store(lambda store: store.problem(row.id).statement.strip(), read)

    @on(BigTable.Chosen, "#table")
    def _open(self, event: BigTable.Chosen) -> None:
        self.app.push_screen(ProblemScreen(self.app_state, self._round_id, event.row.id))


def _format(cut: float) -> str:
    return "off" if cut >= _OFF else f"{cut:.2f}"


def _cells(row: ProblemRow) -> Cells:
    sign = SIGN_OF_CLASS[row.kind]
    kind = (f"{sign} {row.kind}", STYLE_OF_SIGN[sign])
    if row.score is None:
        return [row.id, "", "", "", "", kind]
    bits = row.entropy_bits
    bar = "none ran" if bits is None else f"{bits:4.2f} " + "█" * round(_BAR * min(bits, _MOST_BITS) / _MOST_BITS)
    pairs = str(row.pairs) if row.kind == "learnable" else LEFT_OUT
    return [row.id, (bar, ACTIVE), str(row.clusters), rough_percent(row.crash_rate), pairs, kind]
