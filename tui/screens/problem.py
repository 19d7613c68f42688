"""Show one problem: why it is learnable or not, groups of programs by inputs, two groups side by side, all texts."""

from __future__ import annotations

from typing import Any, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.content import Content
from textual.widgets import TabbedContent, TabPane

from conself_local.round.reasons import why_class
from conself_local.round.views import ProblemRow, ProblemView, problem_row, problem_view
from conself_local.settings import Settings
from conself_local.store.store import Store
from tui.app_state import AppState
from tui.design import MUTED, SIGN_OF_CLASS, plain, plural, signed
from tui.screens.base import BaseScreen
from tui.widgets.behaviour_matrix import BehaviourMatrix, Group
from tui.widgets.diff_view import DiffView
from tui.widgets.panel import Panel
from tui.widgets.plain import Plain

TABS = ("programs", "observations", "prompts", "completions")
_MOST = 90


class ProblemScreen(BaseScreen):
    """The screen of one problem of a round, with one tab per view."""

    NAME = "problems"
    AUTO_FOCUS = "#matrix"
    HELP = (
        "The programs for one problem in groups that behave alike; the first group is the one that most programs "
        "agree with. A row is a group and a column a test input: equal letters in a column are equal outputs, x is a "
        "failure. Up and down choose a group, left and right an input, and v compares the first group with another "
        "one. [ and ] change to the observations, the prompts and the whole answers; Esc goes back."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("v", "compare", "Compare next"),
        Binding("right_square_bracket", "tab(1)", "Other texts", key_display="[ ]"),
        Binding("left_square_bracket", "tab(-1)", "Text before", show=False),
        Binding("escape", "app.pop_screen", "Back"),
    ]

    def __init__(self, app_state: AppState, round_id: int, problem_id: str) -> None:
        super().__init__(app_state)
        self._round_id, self._problem_id = round_id, problem_id
        self._view: ProblemView | None = None
        self._settings = Settings()
        self._other = 1

    def compose_body(self) -> ComposeResult:
        with Panel(heading=self._problem_id, id="about"), VerticalScroll():
            yield Plain("", id="statement")
        with TabbedContent(id="tabs"):
            with TabPane("Programs", id="programs"), Horizontal(id="both"):
                with Panel(heading="Groups", keys="↑↓ group   ←→ input", id="groups"):
                    yield BehaviourMatrix(id="matrix")
                    yield Plain("", id="input")
                with Panel(heading="Side by side", keys="v next group", id="sides"):
                    yield DiffView()
            for tab in TABS[1:]:
                with TabPane(tab.capitalize() if tab != "completions" else "Answers", id=tab), VerticalScroll():
                    yield Plain("", id=f"{tab}-text")

    def load(self, store: Store) -> Any:
        view = problem_view(store, self._round_id, self._problem_id)
        return view, problem_row(store, self._round_id, self._problem_id), store.round(self._round_id).settings

    def show(self, data: Any) -> None:
        view: ProblemView = data[0]
        row: ProblemRow = data[1]
        self._view, self._settings = view, data[2]
        bits = "" if view.entropy_bits is None else f" · {view.entropy_bits:.2f} bits"
        groups = f" · {plural(row.clusters, 'group')}" if row.score else ""
        self.query_one("#about", Panel).set_heading(f"{view.id}  {SIGN_OF_CLASS[view.kind]} {view.kind}{bits}{groups}")
        reason = signed(SIGN_OF_CLASS[view.kind], why_class(row, self._settings))
        self.query_one("#statement", Plain).update(
            Content.assemble(reason, "\n", plain(view.statement.strip()[:1000], MUTED))
        )
        self.query_one(BehaviourMatrix).show(view)
        programs = sum(program.samples for program in view.programs)
        self.query_one("#groups", Panel).set_heading(
            f"Groups  {plural(programs, 'program')}, {plural(len(view.inputs), 'input')}"
        )
        self.query_one("#both").display = bool(view.programs)
        if view.programs:
            self._show_sides()
        observed = "\n\n".join(f"{i}. {text}" for i, text in enumerate(view.observations, 1))
        self.query_one("#observations-text", Plain).update(observed or "none yet")
        self.query_one("#prompts-text", Plain).update("\n\n────\n\n".join(view.prompts) or "none yet")
        self.query_one("#completions-text", Plain).update("\n\n────\n\n".join(view.completions) or "none yet")
        self.set_status("" if view.programs else "No program has been run yet. Press 2 to see how far the round is.")

    @on(BehaviourMatrix.Moved)
    def _moved(self, event: BehaviourMatrix.Moved) -> None:
        if event.control.cursor:
            self._other = event.control.cursor
        self._show_sides()

    @on(BehaviourMatrix.Picked)
    def _show_sides(self) -> None:
        """Show the first group against another one, and what both give for the picked input."""
        matrix = self.query_one(BehaviourMatrix)
        groups: list[Group] = list(matrix.rows)
        if not groups or self._view is None:
            return
        first, other = groups[0], groups[self._other % len(groups)] if len(groups) > 1 else None
        self._show_input(first, other if other is not first else None, matrix.picked)
        diff, panel = self.query_one(DiffView), self.query_one("#sides", Panel)
        if other is None or other is first:
            panel.set_heading(f"{_named(first)}; all programs behave alike")
            diff.show(first.programs[0].code, first.programs[0].code, (_named(first), ""))
            return
        panel.set_heading(f"{first.name} and {other.name}, each by its most sampled program")
        diff.show(first.programs[0].code, other.programs[0].code, (_named(first), _named(other)))

    def _show_input(self, first: Group, other: Group | None, at: int) -> None:
        assert self._view is not None, "shown with the view"
        if not self._view.inputs:
            return
        added = ", added by the round" if at >= self._view.given else ""
        lines = [Content.assemble((f"input {at + 1}{added}  ", MUTED), plain(self._view.inputs[at][:_MOST]))]
        for group in (first, other):
            if group is not None:
                lines.append(Content.assemble((f"{group.name} gives  ", MUTED), plain(_output(group, at))))
        between = "   " if self.has_class("-short") else "\n"
        self.query_one("#input", Plain).update(Content(between).join(lines))

    def action_compare(self) -> None:
        groups = len(self.query_one(BehaviourMatrix).rows)
        if groups > 1:
            self._other = self._other % (groups - 1) + 1
            self._show_sides()
        else:
            self.notify("All programs behave alike, so there is no other group to compare.")

    def action_tab(self, by: int) -> None:
        tabs = self.query_one(TabbedContent)
        tabs.active = TABS[(TABS.index(tabs.active) + by) % len(TABS)]


def _named(group: Group) -> str:
    return f"{group.name}: {plural(group.samples, 'program')}"


def _output(group: Group, at: int) -> str:
    program = group.programs[0]
    output = program.outputs[at]
    if output is None:
        return f"nothing: {program.statuses[at]}" if at < len(program.statuses) else "nothing: it was not run on it"
    return output[:_MOST]
