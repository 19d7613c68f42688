"""Draw one curve over the steps of training, with its last value in the title."""

from __future__ import annotations

from collections.abc import Sequence

from textual.app import ComposeResult
from textual.containers import Vertical
from textual_plot import HiResMode, PlotWidget

from tui.widgets.plain import PlainLabel


class Curve(Vertical):
    """A title line above a plot of one value per step."""

    DEFAULT_CSS = """
    Curve { height: 1fr; width: 1fr; }
    Curve PlainLabel { height: 1; }
    """

    def __init__(self, title: str, id: str) -> None:
        super().__init__(id=id)
        self._title = title

    def compose(self) -> ComposeResult:
        yield PlainLabel(self._title)
        plot = PlotWidget(allow_pan_and_zoom=False)
        plot.can_focus = False
        yield plot

    def show(self, values: Sequence[float], number_format: str = "{:.4f}") -> None:
        """Draw `values`, one per step from step 1 on; the plot stays empty for fewer than two values."""
        self.query_one(PlainLabel).update(
            f"{self._title}: {number_format.format(values[-1])}" if values else f"{self._title}: nothing yet"
        )
        plot = self.query_one(PlotWidget)
        plot.clear()
        if len(values) > 1:
            plot.plot(list(range(1, len(values) + 1)), list(values), hires_mode=HiResMode.BRAILLE)
