"""Show one problem: behaviour matrix, clusters, the difference of two clusters, observations, prompts, completions."""

from __future__ import annotations

from typing import Any, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, ScrollableContainer, VerticalScroll
from textual.widgets import TabbedContent, TabPane

from conself_local.round.views import ProblemView, ProgramView, problem_view
from conself_local.store.store import Store
from tui.app_state import AppState
from tui.screens.base import BaseScreen
from tui.widgets.behaviour_matrix import BehaviourMatrix
from tui.widgets.big_table import BigTable
from tui.widgets.diff_view import DiffView
from tui.widgets.plain import Plain
from tui.widgets.source_view import SourceView


class ProblemScreen(BaseScreen):
    """The screen of one problem of a round, with one tab per view."""

    NAME = "problems"
    HELP = (
        "The programs for one problem. In the matrix, a row is a program and a column a test input; equal letters in a "
        "column are equal outputs. Clusters are programs that behave alike. The difference tab shows two clusters side "
        "by side and the first inputs on which they differ; d again shows the next cluster."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "app.pop_screen", "Back"),
        Binding("d", "difference", "Difference"),
        Binding("m", "tab('matrix')", "Matrix"),
        Binding("c", "tab('clusters')", "Clusters"),
        Binding("o", "tab('observations')", "Observations"),
    ]

    def __init__(self, app_state: AppState, round_id: int, problem_id: str) -> None:
        super().__init__(app_state)
        self._round_id, self._problem_id = round_id, problem_id
        self._view: ProblemView | None = None
        self._other = 0

    def compose_body(self) -> ComposeResult:
        yield Plain("", id="statement")
        with TabbedContent(id="tabs"):
            with TabPane("Matrix", id="matrix"), ScrollableContainer():
                yield BehaviourMatrix()
            with TabPane("Clusters", id="clusters"), Horizontal():
                yield BigTable(
                    [("cluster", 8), ("share", 6), ("times", 5), ("consensus", 9)], self._cells, id="programs"
                )
                yield SourceView(id="source")
            with TabPane("Difference", id="difference"):
                yield Plain("", id="apart")
                yield DiffView()
            with TabPane("Observations", id="observations"), VerticalScroll():
                yield Plain("", id="observed")
            with TabPane("Prompts", id="prompts"), VerticalScroll():
                yield Plain("", id="prompted")
            with TabPane("Completions", id="completions"), VerticalScroll():
                yield Plain("", id="completed")

    def load(self, store: Store) -> Any:
        return problem_view(store, self._round_id, self._problem_id)

    def show(self, data: Any) -> None:
        view: ProblemView = data
        self._view = view
        entropy = "undefined" if view.entropy_bits is None else f"{view.entropy_bits:.2f} bits"
        self.query_one("#statement", Plain).update(
            f"{view.id} ({view.kind}, entropy {entropy})\n{view.statement[:400]}"
        )
        self.query_one(BehaviourMatrix).show(view)
        self.query_one("#programs", BigTable).set_rows(view.programs)
        if view.programs:
            self._show_source(view.programs[0])
            self._show_difference()
        self.query_one("#observed", Plain).update(
            "\n\n".join(f"{i}. {text}" for i, text in enumerate(view.observations, 1)) or "none yet"
        )
        self.query_one("#prompted", Plain).update("\n\n────\n\n".join(view.prompts) or "none yet")
        self.query_one("#completed", Plain).update("\n\n────\n\n".join(view.completions) or "none yet")
        self.set_status("" if view.programs else "No program has been run yet. Press 2 to see how far the round is.")

    def _cells(self, row: ProgramView) -> list[str]:
        assert self._view is not None, "rows are shown with the view"
        valid = sum(p.samples for p in self._view.programs if p.cluster is not None)
        size = sum(p.samples for p in self._view.programs if p.cluster == row.cluster)
        share = "" if row.cluster is None else f"{size / valid:.0%}"
        return [
            "crashed" if row.cluster is None else _name(row.cluster),
            share,
            str(row.samples),
            f"{row.consensus or 0:.2f}",
        ]

    def _show_source(self, program: ProgramView) -> None:
        cluster = "crashed on every input" if program.cluster is None else f"cluster {_name(program.cluster)}"
        view = self.query_one("#source", SourceView)
        view.set_title(f"{cluster}, sampled {program.samples} times")
        view.show(program.code)

    def _show_difference(self) -> None:
        """Show the largest cluster against another one; each press of d takes the next."""
        assert self._view is not None, "shown with the view"
        firsts: dict[int | None, ProgramView] = {}
        for program in self._view.programs:
            firsts.setdefault(program.cluster, program)
        left, *others = firsts.values()
        if not others:
            self.query_one("#apart", Plain).update("All programs behave alike, so there is no difference to show.")
            return
        right = others[self._other % len(others)]
        differing = [(i, a, b) for i, (a, b) in enumerate(zip(left.outputs, right.outputs, strict=True)) if a != b][:3]
        text = ""
        for i, a, b in differing:
            text += f"on {self._view.inputs[i][:60]}: {_shown(a)} against {_shown(b)}\n"
        self.query_one("#apart", Plain).update(text)
        names = tuple("crashed" if p.cluster is None else f"cluster {_name(p.cluster)}" for p in (left, right))
        self.query_one(DiffView).show(left.code, right.code, (names[0], names[1]))

    @on(BigTable.Moved, "#programs")
    def _moved(self, event: BigTable.Moved) -> None:
        self._show_source(event.row)

    def action_tab(self, name: str) -> None:
        self.query_one(TabbedContent).active = name

    def action_difference(self) -> None:
        if self.query_one(TabbedContent).active == "difference":
            self._other += 1
        self.action_tab("difference")
        if self._view and self._view.programs:
            self._show_difference()


def _name(cluster: int) -> str:
    """Return the name of a cluster: 0 -> A, 25 -> Z, 26 -> #27."""
    return chr(ord("A") + cluster) if cluster < 26 else f"#{cluster + 1}"


def _shown(output: str | None) -> str:
    return "failed" if output is None else output[:60]
