"""Draw groups of programs by inputs: equal letters in a column mean equal outputs; a key picks one input to look at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.message import Message

from conself_local.round.views import ProblemView, ProgramView
from tui.design import ACTIVE, ADAPTER, BAD, BASE, MUTED, WARN
from tui.widgets.big_table import BigTable, Cells, Column

_STYLES = (BASE, WARN, ADAPTER, ACTIVE)
_FIXED = (Column("group", 7), Column("share", 5, right=True), Column("agrees", 6, right=True))
_INPUT_WIDTH = 3


@dataclass(frozen=True)
class Group:
    """Programs that behave alike."""

    cluster: int | None
    """0 is the largest; None: programs that failed on every input."""
    programs: tuple[ProgramView, ...]
    """Its different programs, the most sampled first."""

    @property
    def name(self) -> str:
        """Return `A` for the largest group, `#27` for the 27th, and `crashed`."""
        if self.cluster is None:
            return "crashed"
        return chr(ord("A") + self.cluster) if self.cluster < 26 else f"#{self.cluster + 1}"

    @property
    def samples(self) -> int:
        """How often a program of this group was sampled."""
        return sum(program.samples for program in self.programs)

    @property
    def consensus(self) -> float | None:
        """The agreement of its programs with all others; None before the problem is scored."""
        return self.programs[0].consensus


def groups_of(view: ProblemView) -> list[Group]:
    """Return the groups of a problem, the largest first and the crashed programs last."""
    found: dict[int | None, list[ProgramView]] = {}
    for program in view.programs:
        found.setdefault(program.cluster, []).append(program)
    return [Group(cluster, tuple(programs)) for cluster, programs in found.items()]


def letters_of(groups: Sequence[Group], at: int) -> dict[str, str]:
    """Return output -> letter for input `at`: `a` for the most frequent output; from the 23rd on all share `w`."""
    counts: dict[str, int] = {}
    for group in groups:
        for program in group.programs:
            if (output := program.outputs[at]) is not None:
                counts[output] = counts.get(output, 0) + program.samples
    ranked = sorted(counts, key=lambda output: -counts[output])
    return {output: chr(ord("a") + min(i, 22)) for i, output in enumerate(ranked)}


class BehaviourMatrix(BigTable):
    """The groups of one problem, with one letter per input; `x` means that the programs failed on this input.

    Added inputs come after `│`. Left and right pick an input; its column is marked by `▸`.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left", "pick(-1)", "Input", key_display="←→"),
        Binding("right", "pick(1)", "Next input", show=False),
    ]

    class Picked(Message):
        """Another input was picked."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(_FIXED, self._cells, id=id)
        self.picked = 0
        self._groups: list[Group] = []
        self._letters: list[dict[str, str]] = []
        self._given = self._inputs = 0
        self._window = range(0)
        """The inputs that have a column; the cells follow it, and not the size, which may change between two draws."""

    def show(self, view: ProblemView) -> None:
        """Show the groups of a problem."""
        self._groups = groups_of(view)
        self._given, self._inputs = view.given, len(view.inputs)
        self._letters = [letters_of(self._groups, i) for i in range(self._inputs)]
        self.picked = min(self.picked, max(0, self._inputs - 1))
        self._arrange()
        self.set_rows(self._groups, key=lambda group: group.cluster)

    def on_resize(self) -> None:
        self._arrange()

    def _arrange(self) -> None:
        """Take the inputs around the picked one that fit beside the fixed columns."""
        room = self.size.width - sum(column.width + 1 for column in _FIXED) - 2
        fit = max(1, room // (_INPUT_WIDTH + 1))
        first = max(0, min(self.picked - fit // 2, self._inputs - fit))
        self._window = range(first, min(self._inputs, first + fit))
        columns = list(_FIXED)
        for at in self._window:
            if at == self._given and at:
                columns.append(Column("│", 1))
            columns.append(Column(f"{'▸' if at == self.picked else ''}{at + 1}", _INPUT_WIDTH, right=True))
        self.set_columns(columns)

    def _cells(self, group: Group) -> Cells:
        valid = sum(other.samples for other in self._groups if other.cluster is not None)
        share = "" if group.cluster is None else f"{group.samples / valid:.0%}"
        agrees = "?" if group.consensus is None else f"{group.consensus:.2f}"
        cells: list[str | tuple[str, str]] = [f"{group.name} {group.samples}×", share, agrees]
        for at in self._window:
            if at == self._given and at:
                cells.append(("│", MUTED))
            output = group.programs[0].outputs[at]
            letter = "x" if output is None else self._letters[at][output]
            cells.append((letter, BAD if output is None else _STYLES[(ord(letter) - ord("a")) % len(_STYLES)]))
        return cells

    def action_pick(self, by: int) -> None:
        if self._inputs:
            self.picked = max(0, min(self._inputs - 1, self.picked + by))
            self._arrange()
            self.post_message(self.Picked())
