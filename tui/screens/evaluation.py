"""Show whether the model got better: the verdict in words, then the numbers, the problems gained and lost, and why."""

from __future__ import annotations

from typing import Any, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.content import Content

from conself_local.evaluation.report import result_lines
from conself_local.round.overview import verdict_word
from conself_local.round.views import judged_programs
from conself_local.store.reports import round_report
from conself_local.store.store import Store
from tui.design import (
    BAD,
    DONE,
    FAILED,
    GOOD,
    IN_USE,
    LEFT_OUT,
    MUTED,
    NO_CHANGE,
    NOT_BEGUN,
    plain,
    plural,
    rough_percent,
    signed,
)
from tui.screens.deciding import STATES, DecidesAdapters
from tui.screens.rounds import ShowsRound
from tui.widgets.big_table import BigTable, Cells, Column
from tui.widgets.diff_view import DiffView
from tui.widgets.interval import Difference, Interval
from tui.widgets.panel import Panel
from tui.widgets.plain import Plain

_SIGN_OF_VERDICT = {"better": DONE, "surer": DONE, "worse": FAILED, "no measurable change": NO_CHANGE}
_MEANS = {
    "accepted": "the next round begins with it",
    "rejected": "the next round does not use it",
    "candidate": "the next round does not use it yet",
}
_SIGN_OF_STATE = {"accepted": IN_USE, "rejected": LEFT_OUT, "candidate": NOT_BEGUN}


class EvaluationScreen(ShowsRound, DecidesAdapters):
    """The screen of a round's evaluation; keys keep its adapter or put it aside."""

    NAME = "evaluation"
    AUTO_FOCUS = "#gained"
    REFRESH = 5.0
    HELP = (
        "The verdict in words, then the share of problems solved at the first try before and after. The bar is the "
        "interval that contains the true difference in 95 of 100 cases: if it contains 0, the difference may be "
        "chance, and there is no measurable change. Held-out problems were used neither for training nor for any "
        "choice. Gained and lost compare one greedy answer per problem; Enter shows both programs on a small "
        "terminal. m shows more numbers. a keeps the adapter, b puts it aside, u takes that back."
    )
    BINDINGS: ClassVar[list[BindingType]] = [Binding("m", "more", "More numbers")]

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._report: dict[str, Any] | None = None

    @property
    def adapter(self) -> int | None:
        """The adapter of the round that is shown."""
        return self._report["adapter"]["id"] if self._report and self._report["adapter"] else None

    def compose_body(self) -> ComposeResult:
        with Panel(heading="Did it get better?", keys="m more numbers", id="verdict"):
            yield Plain("", id="words")
            yield Interval(id="intervals")
            yield Plain("", id="more")
        with Horizontal(id="changes"):
            with Panel(heading="Gained", id="gained-panel"):
                yield BigTable([Column("problem", 10, grows=True), Column("benchmark", 10)], _cells, id="gained")
            with Panel(heading="Lost", id="lost-panel"):
                yield BigTable([Column("problem", 10, grows=True), Column("benchmark", 10)], _cells, id="lost")
        with Panel(heading="Base and adapter", id="sides"):
            yield DiffView()

    def load(self, store: Store) -> Any:
        shown = self.shown_round(store)
        return round_report(store, shown.id) if shown else None

    def show(self, data: Any) -> None:
        self._report = data
        judged = bool(data and data["evaluations"])
        self.set_class(not judged, "-nothing")
        if not judged:
            self.set_status(f"{self._nothing(data)}{self.hint_of_earlier}")
            return
        self.query_one("#words", Plain).update(_words(data))
        self.query_one(Interval).show([_difference(name, r) for name, r in data["evaluations"].items()])
        self.query_one("#more", Plain).update(_more(data))
        self._show_changes(data)
        self.set_status("" if data["adapter"] else "No adapter was trained. 2 has the summary of the round.")

    @staticmethod
    def _nothing(report: dict[str, Any] | None) -> str:
        if report and report["stages"].get("decide") and not report["adapter"]:
            return f"{LEFT_OUT} Nothing was judged: {report['stages']['decide']}. 4 shows the pairs."
        return "Nothing has been judged yet. Judging comes after training: press 2 to see how far the round is."

    def _show_changes(self, report: dict[str, Any]) -> None:
        any_changed = False
        for what, sign in (("gained", "+"), ("lost", "−")):
            rows = [
                {"benchmark": name, "problem": problem}
                for name, result in report["evaluations"].items()
                for problem in result[what]
            ]
            any_changed = any_changed or bool(rows)
            table = self.query_one(f"#{what}", BigTable)
            table.set_rows(rows, key=lambda row: (row["benchmark"], row["problem"]))
            self.query_one(f"#{what}-panel", Panel).set_heading(
                f"{what.capitalize()}  {sign} {plural(len(rows), 'problem')}"
            )
            table.can_focus = bool(rows)
        self.set_class(not any_changed, "-same")
        if not any_changed:
            self.query_one("#sides", Panel).set_heading("Gained 0, lost 0")
            self.query_one(DiffView).clear(
                "The greedy answers solve the same problems as before, so there is nothing to compare here."
            )

    @on(BigTable.Moved)
    def _moved(self, event: BigTable.Moved) -> None:
        table = event.control
        if self._report is None or (
            table.id == "lost" and self.query_one("#gained", BigTable).rows and not table.has_focus
        ):
            return
        round_id, row = self._report["round"], event.row

        def compared(arms: dict[str, Any]) -> None:
            if len(arms) == 2 and table.row == row:
                titles = [f"{arm}, {'right' if arms[arm][1] else 'wrong'}" for arm in ("base", "adapter")]
                self.query_one("#sides", Panel).set_heading(f"Base and adapter  {row['problem']}")
                self.query_one(DiffView).show(arms["base"][0], arms["adapter"][0], (titles[0], titles[1]))

        self.run_with_store(lambda store: judged_programs(store, round_id, row["benchmark"], row["problem"]), compared)

    @on(BigTable.Chosen)
    def _chosen(self) -> None:
        self.toggle_class("-opened")

    def action_more(self) -> None:
        self.toggle_class("-more")


def _words(report: dict[str, Any]) -> Content:
    """Return what came of the round in words: what happens with the adapter, and what each benchmark says."""
    lines = []
    if adapter := report["adapter"]:
        state = adapter["state"]
        sign = _SIGN_OF_STATE[state]
        said = f"Adapter {adapter['id']} is {STATES[state]}: {_MEANS[state]}."
        lines.append(signed(sign, said, "bold"))
    for name, result in report["evaluations"].items():
        word = verdict_word(result)
        sign = _SIGN_OF_VERDICT.get(word, NOT_BEGUN)
        style = {DONE: GOOD, FAILED: BAD}.get(sign, "")
        judged = f"{plural(result['problems'], 'problem')}.{_closed(result)}"
        lines.append(
            Content.assemble(
                (f"{sign} ", style),
                plain(word.capitalize(), f"bold {style}"),
                f" on {name}, {judged}",
            )
        )
    times = report["held_out_judged"]
    if times > 1:
        text = f"The held-out problems were judged on {times:,} times in this home; each time says a little less."
        lines.append(Content.styled(text, MUTED))
    return Content("\n").join(lines)


def _difference(name: str, result: dict[str, Any]) -> Difference:
    base, adapter = (_first_try(result[arm]) for arm in ("base", "adapter"))
    return Difference(name, result["problems"], base, adapter, result["difference"], *result["interval_95"])


def _first_try(arm: dict[str, Any]) -> float:
    return float(arm["pass_at"].get("1", arm["greedy_pass_at_1"]))


def _more(report: dict[str, Any]) -> Content:
    """Return the report of each benchmark: the numbers of both arms and what the verdict rests on."""
    lines = []
    for name, result in report["evaluations"].items():
        first, *others = result_lines(name, result)
        lines += [plain(first, "bold"), *(plain(line, MUTED) for line in others)]
    return Content("\n").join(lines)


def _closed(result: dict[str, Any]) -> str:
    """Return how much of the gap from greedy answers to the consensus training has closed, if that is known."""
    share = (result.get("closed") or {}).get("share")
    return "" if share is None else f" {rough_percent(share)} of the gap to the base's consensus is closed."


def _cells(row: dict[str, str]) -> Cells:
    return [row["problem"], (row["benchmark"], MUTED)]
