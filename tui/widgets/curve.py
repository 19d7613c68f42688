"""Draw one value per step of training as a chart: faint dots for each step, a line for their mean, and limits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from textual.app import ComposeResult
from textual.color import Color
from textual.containers import Vertical
from textual_plot import HiResMode, NumericAxisFormatter, PlotWidget

_LEAST_RANGE = 0.02
"""The value axis spans at least this much, so that noise does not fill the chart."""
_TICKS = 5
_FAINT = 0.6
"""How much of the background is mixed into the dots of single steps."""


@dataclass(frozen=True)
class Limit:
    """A horizontal line at which something happens."""

    value: float
    text: str


class WholeSteps(NumericAxisFormatter):
    """Labels for steps of training: whole numbers only."""

    def get_labels_for_ticks(self, ticks: Sequence[float]) -> list[str]:
        """Return the steps without a fraction."""
        return [f"{tick:.0f}" for tick in ticks]


class Curve(Vertical):
    """A chart of one value over the steps; the panel around it has the title."""

    DEFAULT_CSS = "Curve { height: 1fr; width: 1fr; }"

    def __init__(self, id: str, style: str) -> None:
        super().__init__(id=id)
        self._style = style
        self._shown: tuple[Sequence[float], int, Sequence[Limit]] = ((), 0, ())

    def compose(self) -> ComposeResult:
        plot = PlotWidget(allow_pan_and_zoom=False)
        plot.can_focus = False
        yield plot

    def on_mount(self) -> None:
        plot = self.query_one(PlotWidget)
        plot.margin_top, plot.margin_bottom, plot.margin_left = 0, 1, 8
        self.app.theme_changed_signal.subscribe(self, lambda _: self.show(*self._shown))

    def show(self, values: Sequence[float], steps: int, limits: Sequence[Limit] = ()) -> None:
        """Draw `values`, one per step from step 1 on, on an axis of `steps` steps; two values are the least to draw."""
        self._shown = (values, steps, limits)
        plot = self.query_one(PlotWidget)
        plot.clear()
        if len(values) < 2:
            return
        colours = self.app.theme_variables
        at = np.arange(1, len(values) + 1)
        plot.set_x_formatter(WholeSteps())
        plot.set_xlimits(1, max(steps, len(values)))
        plot.set_xticks(whole_ticks(max(steps, len(values))))
        low, high = value_range(values, [limit.value for limit in limits])
        plot.set_ylimits(low, high)
        faint = Color.parse(colours["foreground"]).blend(Color.parse(colours["surface"]), _FAINT).hex
        plot.scatter(at, values, marker="·", marker_style=faint)
        plot.plot(at, running_mean(values), line_style=colours[self._style], hires_mode=HiResMode.BRAILLE)
        for limit in limits:
            if low <= limit.value <= high:
                ends, level = [1, max(steps, len(values))], [limit.value, limit.value]
                plot.plot(ends, level, line_style=colours["warning"], hires_mode=HiResMode.BRAILLE)


def running_mean(values: Sequence[float], window: int = 8) -> list[float]:
    """Return the mean of each value and up to `window` - 1 before it: `[1, 3], 2` -> `[1.0, 2.0]`."""
    return [float(np.mean(values[max(0, i - window + 1) : i + 1])) for i in range(len(values))]


def whole_ticks(steps: int) -> list[int]:
    """Return at most six whole steps for an axis that ends at `steps`, the first and the last among them."""
    every = max(1, -(-(steps - 1) // _TICKS))
    return [*range(1, steps - every // 2, every), steps] if steps > 1 else [1]


def value_range(values: Sequence[float], limits: Sequence[float]) -> tuple[float, float]:
    """Return the ends of the value axis: all values, the limits that are near, and at least `_LEAST_RANGE`."""
    low, high = min(values), max(values)
    spread = max(high - low, _LEAST_RANGE)
    near = [limit for limit in limits if low - 2 * spread <= limit <= high + 2 * spread]
    low, high = min([low, *near]), max([high, *near])
    if high - low < _LEAST_RANGE:
        middle = (low + high) / 2
        low, high = middle - _LEAST_RANGE / 2, middle + _LEAST_RANGE / 2
    return low, high
