"""Show training as curves, and warn if the chosen answers become less likely.

The curves are loss, margin, reward accuracy, and the change in log-probability of the chosen answers.
"""

from __future__ import annotations

from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Grid

from conself_local.round import process as round_process
from conself_local.round.views import training_steps
from conself_local.store.store import Store
from conself_local.training.diagnostics import displaced_by
from tui.screens.base import BaseScreen
from tui.widgets.curve import Curve
from tui.widgets.plain import Plain


class TrainingScreen(BaseScreen):
    """The screen of the latest round's training."""

    NAME = "training"
    REFRESH = 2.0
    HELP = (
        "Loss should fall; margin and reward accuracy should rise. The log-probability of the chosen answers should "
        "not fall: that is likelihood displacement, and the model forgets how to answer. x stops training; the next "
        "start continues from the last step."
    )
    BINDINGS: ClassVar[list[BindingType]] = [Binding("x", "stop", "Stop")]

    def compose_body(self) -> ComposeResult:
        yield Plain("", id="numbers")
        with Grid(id="curves"):
            yield Curve("loss", "loss")
            yield Curve("margin", "margin")
            yield Curve("reward accuracy", "accuracy")
            yield Curve("chosen, nats/token", "chosen")

    def load(self, store: Store) -> Any:
        latest = store.latest_round()
        if latest is None:
            return [], None, None
        return (
            training_steps(store, latest.id),
            store.stage_summary(latest.id, "train"),
            latest.settings.training.max_displacement,
        )

    def show(self, data: Any) -> None:
        steps, summary, limit = data
        for id, column in (
            ("loss", "loss"),
            ("margin", "margin"),
            ("accuracy", "reward_accuracy"),
            ("chosen", "chosen_logp_shift"),
        ):
            self.query_one(f"#{id}", Curve).show(
                [row[column] for row in steps], "{:+.4f}" if id in ("margin", "chosen") else "{:.4f}"
            )
        if not steps:
            self.query_one("#numbers", Plain).update("")
            self.set_status(
                "No training step yet. Training comes after the pairs: press 2 to see how far the round is."
            )
            return
        last = steps[-1]
        left = (last["steps"] - last["step"]) * sum(row["seconds"] for row in steps[-10:]) / len(steps[-10:])
        time_left = f", about {left / 60:.0f} min left" if left > 0 and not summary else ""
        self.query_one("#numbers", Plain).update(
            f"step {last['step']} of {last['steps']}, learning rate {last['learning_rate']:.1e}, "
            f"gradient norm {last['gradient_norm']:.2f}, memory {last['memory_bytes'] / 2**30:.1f} GiB{time_left}"
        )
        shift = displaced_by([row["chosen_logp_shift"] for row in steps])
        if shift is not None:
            warning = f"The chosen answers have become less likely ({shift:+.2f} nats per token)"
            automatic = f"; training stops automatically at -{limit:.1f}" if limit else ""
            advice = "." if summary else f"{automatic}. Press x to stop it now."
            self.set_status(f"{warning}{advice}", is_error=True)
        else:
            self.set_status(summary or "")

    def action_stop(self) -> None:
        stopped = round_process.stop(self.app_state.home)
        self.notify("Stopping; the last step is kept." if stopped else "No round is running. Press 1 to start one.")
