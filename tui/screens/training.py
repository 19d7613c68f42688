"""Show training as two charts, and warn if the chosen answers become less likely.

The charts are the loss and the change in log-probability of the chosen answers; margin and reward accuracy are numbers
with a small line each, and charts on wide terminals.
"""

from __future__ import annotations

from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Grid
from textual.widgets import Sparkline

from conself_local.round.views import training_steps
from conself_local.store.store import Store
from conself_local.training.diagnostics import DISPLACED_NATS, displaced_by
from tui.app_state import AppState
from tui.design import LEFT_OUT, clock, duration
from tui.screens.rounds import ShowsRound
from tui.screens.steering import SteersRound
from tui.widgets.curve import Curve, Limit
from tui.widgets.panel import Panel
from tui.widgets.plain import Plain
from tui.widgets.stage_progress import WholeBar

CHARTS = ("loss", "chosen", "margin", "accuracy")
_COLUMNS = {"loss": "loss", "chosen": "chosen_logp_shift", "margin": "margin", "accuracy": "reward_accuracy"}


class TrainingScreen(ShowsRound, SteersRound):
    """The screen of a round's training."""

    NAME = "training"
    REFRESH = 2.0
    HELP = (
        "The loss should fall. The log-probability of the chosen answers should not fall: if it does, the rejected "
        "answers take the chosen ones with them, and the model forgets how to answer (likelihood displacement). Dots "
        "are single steps, the line is their mean over the last eight. Margin and reward accuracy should rise. x "
        "stops training after a question; the next start continues from the last checkpoint. c shows the next chart on "
        "a small terminal."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("c", "chart", "Next chart"),
        Binding("w", "app.notices", "Notices"),
    ]

    def __init__(self, app_state: AppState) -> None:
        super().__init__(app_state)
        self._alone = 0

    def compose_body(self) -> ComposeResult:
        with Panel(heading="Training", id="whole"):
            yield WholeBar(id="bar")
            yield Plain("", id="numbers")
        with Grid(id="charts"):
            with Panel(heading="Loss", keys="falling: good", id="loss-panel"):
                yield Curve("loss", "primary")
            with Panel(heading="Chosen answers", keys="not falling: good", id="chosen-panel"):
                yield Curve("chosen", "accent")
            with Panel(heading="Margin", keys="rising: good", id="margin-panel"):
                yield Curve("margin", "secondary")
            with Panel(heading="Reward accuracy", keys="rising: good", id="accuracy-panel"):
                yield Curve("accuracy", "success")
        with Panel(heading="Margin and reward accuracy", keys="rising: good", id="small"):
            yield Sparkline([], id="margin-line")
            yield Sparkline([], id="accuracy-line")

    def load(self, store: Store) -> Any:
        shown = self.shown_round(store)
        if shown is None:
            return [], None, None
        return (
            training_steps(store, shown.id),
            store.stage_summary(shown.id, "train"),
            shown.settings.training.max_displacement,
        )

    def show(self, data: Any) -> None:
        steps, summary, limit = data
        self._show_charts(steps, limit)
        whole = self.query_one("#whole")
        whole.display = bool(steps)
        if not steps:
            self.set_status(self._before(summary))
            return
        self._show_whole(steps, summary)
        shift = displaced_by([row["chosen_logp_shift"] for row in steps])
        if shift is not None:
            warning = f"The chosen answers have become less likely ({shift:+.2f} nats per token)"
            automatic = f"; training ends by itself at -{limit:.1f}" if limit and not summary else ""
            advice = "" if summary else " x stops it now."
            self.set_status(f"{warning}{automatic}.{advice}", warn=True)
        else:
            self.set_status(summary or ("" if len(steps) > 1 else "The charts come with the second step."))

    def _before(self, summary: str | None) -> str:
        """Return what stands here before there is a step."""
        if summary:
            return f"{LEFT_OUT} {summary}. 4 shows the pairs."
        hint = "press 2 to see how far the round is."
        return f"No training step yet. Training comes after the pairs: {hint}{self.hint_of_earlier}"

    def _show_whole(self, steps: list[dict[str, Any]], summary: str | None) -> None:
        last = steps[-1]
        left = (last["steps"] - last["step"]) * sum(row["seconds"] for row in steps[-10:]) / len(steps[-10:])
        state = self._overview.state if self._overview else ""
        works = state == "running" and not summary and left > 0
        text = f"about {duration(left)} left · by {clock(left)}, judging after" if works else ""
        self.query_one(WholeBar).show(1.0 if summary else last["step"] / last["steps"], text)
        self.query_one("#whole", Panel).set_heading(f"Training  step {last['step']:,} of {last['steps']:,}")
        self.query_one("#numbers", Plain).update(
            f"learning rate {last['learning_rate']:.1e} · gradient norm {last['gradient_norm']:.2f} · "
            f"memory {last['memory_bytes'] / 2**30:.1f} GiB"
        )

    def _show_charts(self, steps: list[dict[str, Any]], limit: float | None) -> None:
        """Draw the charts once there are two steps; an axis without a line says nothing."""
        drawn = len(steps) > 1
        self.set_class(not drawn, "-undrawn")
        if not drawn:
            return
        planned = steps[-1]["steps"]
        warned = [Limit(-DISPLACED_NATS, "warned")] + ([Limit(-limit, "ends")] if limit else [])
        values = {id: [row[column] for row in steps] for id, column in _COLUMNS.items()}
        for id in CHARTS:
            self.query_one(f"#{id}", Curve).show(values[id], planned, warned if id == "chosen" else ())
        first, last = values["loss"][0], values["loss"][-1]
        way = "↓" if last < first else "↑" if last > first else "="
        self.query_one("#loss-panel", Panel).set_heading(f"Loss  {last:.3f} {way} from {first:.3f}")
        chosen = self.query_one("#chosen-panel", Panel)
        chosen.set_heading(f"Chosen answers  {values['chosen'][-1]:+.3f} nats per token")
        ends = f", ends at {-limit:.1f}" if limit else ""
        chosen.set_keys(f"warned at {-DISPLACED_NATS:.1f}{ends} · not falling: good")
        margin, accuracy = values["margin"], values["accuracy"]
        self.query_one("#margin-panel", Panel).set_heading(f"Margin  {margin[-1]:+.3f}")
        self.query_one("#accuracy-panel", Panel).set_heading(f"Reward accuracy  {100 * accuracy[-1]:.0f} %")
        self.query_one("#small", Panel).set_heading(
            f"Margin  {margin[-1]:+.3f}   Reward accuracy  {100 * accuracy[-1]:.0f} %"
        )
        self.query_one("#margin-line", Sparkline).data = margin
        self.query_one("#accuracy-line", Sparkline).data = accuracy
        for at, id in enumerate(CHARTS):
            self.query_one(f"#{id}-panel").set_class(at == self._alone, "-alone")

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Return whether a key acts now: charts change places only where one fits."""
        if action == "chart":
            return self.has_class("-tiny")
        return super().check_action(action, parameters)

    def action_chart(self) -> None:
        self._alone = (self._alone + 1) % len(CHARTS)
        for at, id in enumerate(CHARTS):
            self.query_one(f"#{id}-panel").set_class(at == self._alone, "-alone")
