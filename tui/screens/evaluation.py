"""Show whether the model got better: base and adapter on each benchmark, problems gained and lost, the decision."""

from __future__ import annotations

from typing import Any, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal

from conself_local.round.views import judged_programs
from conself_local.store.reports import round_report
from conself_local.store.store import Store
from tui.screens.base import BaseScreen
from tui.widgets.big_table import BigTable
from tui.widgets.diff_view import DiffView
from tui.widgets.interval import Interval
from tui.widgets.plain import Plain


class EvaluationScreen(BaseScreen):
    """The screen of the latest round's evaluation; a key accepts or rejects its adapter."""

    NAME = "evaluation"
    AUTO_FOCUS = "#changed"
    REFRESH = 5.0
    HELP = (
        "Points are percent of problems solved at the first try. The interval shows how far chance alone could move "
        "the difference. better: greedy answers or the ranking measure A rise, and as many problems are solved in "
        "several tries. surer: right answers only come more often. a accepts the adapter for later rounds, d rejects "
        "it."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("a", "accept('accepted')", "Accept"),
        Binding("d", "accept('rejected')", "Reject"),
    ]

    def compose_body(self) -> ComposeResult:
        yield Plain("", id="results")
        yield Interval()
        with Horizontal():
            yield BigTable([("", 8), ("benchmark", 10), ("problem", 40)], _cells, id="changed")
            yield DiffView()

    def load(self, store: Store) -> Any:
        latest = store.latest_round()
        return round_report(store, latest.id) if latest else None

    def show(self, data: Any) -> None:
        self._report = data
        if not data or not data["evaluations"]:
            self.set_status(
                "Nothing has been evaluated yet. Evaluation comes after training: press 2 to see how far the round is."
            )
            return
        lines = [f"{'':<12} {'base':>7} {'adapter':>8} {'greedy':>15} {'parsed':>15} {'crashed':>15}"]
        for name, result in data["evaluations"].items():
            base, adapter = result["base"], result["adapter"]
            first = [arm["pass_at"].get("1", arm["greedy_pass_at_1"]) for arm in (base, adapter)]
            both = " ".join(
                _both(base, adapter, what) for what in ("greedy_pass_at_1", "parsed_share", "crashed_share")
            )
            lines.append(f"{name:<12} {first[0]:>7.3f} {first[1]:>8.3f} {both}")
            lines.append(f"  {result['verdict']}; McNemar p {result['mcnemar_p']:.3f}")
        times = data["held_out_judged"]
        lines.append(f"the held-out problems were used for evaluation {times} time{'s' * (times != 1)} in this home")
        self.query_one(Interval).show(
            {name: (r["difference"], *r["interval_95"]) for name, r in data["evaluations"].items()}
        )
        changed = [
            {"what": what, "benchmark": name, "problem": problem}
            for name, result in data["evaluations"].items()
            for what in ("gained", "lost")
            for problem in result[what]
        ]
        if not changed:
            lines.append("greedy answers: no problem gained, none lost")
        self.query_one("#results", Plain).update("\n".join(lines))
        self.query_one("#changed", BigTable).set_rows(changed)
        state = data["adapter"]["state"] if data["adapter"] else "none"
        self.set_status(
            f"Adapter: {state}. a accepts it, d rejects it, 7 tries it."
            if data["adapter"]
            else "No adapter was trained. Press 2 for the summary of the round."
        )

    @on(BigTable.Moved)
    def _moved(self, event: BigTable.Moved) -> None:
        round_id, row = self._report["round"], event.row

        def compared(arms: dict[str, Any]) -> None:
            if len(arms) == 2 and self.query_one("#changed", BigTable).row == row:
                titles = [f"{arm}, {'right' if arms[arm][1] else 'wrong'}" for arm in ("base", "adapter")]
                self.query_one(DiffView).show(arms["base"][0], arms["adapter"][0], (titles[0], titles[1]))

        self.run_with_store(lambda store: judged_programs(store, round_id, row["benchmark"], row["problem"]), compared)

    def action_accept(self, state: str) -> None:
        if self._report and self._report["adapter"]:
            adapter = self._report["adapter"]["id"]
            self.run_with_store(lambda store: store.set_adapter_state(adapter, state), lambda _: self.action_reload())


def _both(base: dict[str, Any], adapter: dict[str, Any], name: str) -> str:
    return f"{base[name]:>6.3f} -> {adapter[name]:.3f}"


def _cells(row: dict[str, str]) -> list[str]:
    return ["+ gained" if row["what"] == "gained" else "- lost", row["benchmark"], row["problem"]]
