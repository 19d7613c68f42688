"""Draw differences in points with their 95 % intervals, as bars on one axis that includes 0."""

from __future__ import annotations

from dataclasses import dataclass

from textual.content import Content

from conself_local.foreign_text import shown
from tui.design import BAD, DONE, FAILED, GOOD, MUTED, percent, points, sign_of_interval
from tui.widgets.plain import Plain


@dataclass(frozen=True)
class Difference:
    """What a benchmark says: both shares of problems solved at the first try, and how sure their difference is."""

    name: str
    problems: int
    base: float
    adapter: float
    difference: float
    low: float
    high: float

    @property
    def sign(self) -> str:
        """Whether it is surely better, surely worse, or may be chance."""
        return sign_of_interval(self.low, self.high)


_LEFT, _RIGHT = 46, 20
"""Characters beside the axis."""


class Interval(Plain):
    """One line per benchmark: name, shares, difference, interval on a shared axis, sign."""

    DEFAULT_CSS = "Interval { height: auto; text-wrap: nowrap; }"

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._rows: list[Difference] = []

    def show(self, rows: list[Difference]) -> None:
        """Draw these differences, which are shares from -1 to 1."""
        self._rows = rows
        self.refresh(layout=True)

    def render(self) -> Content:
        if not self._rows:
            return Content("")
        wide = self.size.width >= 100
        half = max(8, (min(self.size.width or 80, 150) - (_LEFT + _RIGHT if wide else 40)) // 2)
        most = max(max(abs(row.low), abs(row.high), abs(row.difference)) for row in self._rows)
        most = next((limit for limit in (0.02, 0.05, 0.1, 0.2, 0.5) if most <= limit), 1.0)
        lines = [self._axis(half, most, wide)] if wide else []
        lines += [self._row(row, half, most, wide) for row in self._rows]
        return Content("\n").join(lines)

    @staticmethod
    def _axis(half: int, most: float, wide: bool) -> Content:
        """Return the line with the ends and the middle of the axis."""
        axis = list(" " * (2 * half + 7))
        for at, text in ((0, f"{100 * -most:+.0f}"), (half, "0"), (2 * half, f"{100 * most:+.0f}")):
            axis[at : at + len(text)] = text
        titles = f"{'':<12}{'':>5}  {'solved at first try':<27}"
        return Content.styled(f"{titles if wide else ''}{''.join(axis).rstrip()} points", MUTED)

    @staticmethod
    def _row(row: Difference, half: int, most: float, wide: bool) -> Content:
        def place(value: float) -> int:
            return max(0, min(2 * half, half + round(half * value / most)))

        axis = ["┊" if i == half else " " for i in range(2 * half + 1)]
        for i in range(place(row.low), place(row.high) + 1):
            axis[i] = "─"
        axis[place(row.low)], axis[place(row.high)] = "├", "┤"
        if axis[half] == "─":
            axis[half] = "┼"
        axis[place(row.difference)] = "●"
        style = {DONE: GOOD, FAILED: BAD}.get(row.sign, "")
        both = f"{percent(row.base)} → {percent(row.adapter)}"
        words = {DONE: "surely more", FAILED: "surely less"}.get(row.sign, "may be chance")
        if not wide:
            return Content.assemble(
                f"{shown(row.name, lines=False):<11}{points(row.difference):>6} ", ("".join(axis), style),
                f"  {row.sign} {words}",
            )  # fmt: skip
        head = f"{shown(row.name, lines=False):<12}{row.problems:>5}  {both:<19}{points(row.difference):>6}  "
        return Content.assemble(head, ("".join(axis), style), f"  {row.sign} {words}")
