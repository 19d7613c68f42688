"""Start, hold and stop the round by the same three keys on every screen that shows it at work."""

from __future__ import annotations

from typing import ClassVar

from textual.binding import Binding, BindingType

from conself_local.round import process as round_process
from conself_local.round.overview import same_again
from conself_local.store.store import Store
from tui.screens.base import BaseScreen
from tui.widgets.ask_dialog import Answer, Ask

STOP = Answer("x", "Stop the round", "stop")
ACTIVE = "The round is already running or starting."
_KEPT = (
    "Everything that is stored is kept: programs, results and the last checkpoint of training. The next start "
    "continues from there."
)


class SteersRound(BaseScreen):
    """A screen on which s starts the round or continues it, p holds it, and x stops it after a question."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("s", "start", "Start, continue"),
        Binding("p", "pause", "Hold, resume"),
        Binding("x", "stop", "Stop"),
    ]

    def action_pause(self) -> None:
        home = self.app_state.home
        paused = round_process.is_paused(home)
        done = round_process.resume(home) if paused else round_process.pause(home)
        said = "Resumed." if paused else "Held; work that has begun is finished first. p resumes it."
        self.notify(said if done else "No round is running, so there is nothing to hold. s starts one.")
        self.action_reload()

    def action_stop(self) -> None:
        home = self.app_state.home
        if round_process.running(home) is None:
            self.notify("No round is running, so there is nothing to stop. s starts one.")
            return

        def answered(answer: str | None) -> None:
            if answer == STOP.value:
                stopped = round_process.stop(home)
                self.notify("Stopping; everything stored is kept. s continues later." if stopped else "It has ended.")

        self.app.push_screen(Ask("Stop the round?", _KEPT, [STOP], stay="Let it run"), answered)

    def action_start(self) -> None:
        """Continue the unfinished round, or start one like the last; what a new kind of round needs is asked on 1."""
        if self.app_state.round_is_active:
            self.notify(ACTIVE)
            return

        def start(store: Store) -> str:
            latest = store.latest_round()
            if latest is not None and latest.state == "running":
                return f"Round {latest.id} continues." if self.app_state.start_round([]) else ACTIVE
            arguments = same_again(latest) if latest is not None and not self.app_state.touched else None
            if latest is None or arguments is None:
                return ""
            if not self.app_state.start_round(arguments):
                return ACTIVE
            return (
                f"Round {latest.id + 1} begins with the model, the problems and the preset of round {latest.id}. "
                "x stops it, p holds it."
            )

        self.run_with_store(start, self._started)

    def _started(self, said: str) -> None:
        if said:
            self.notify(said)
            return
        self.app.switch_mode("start")
        text = "Choose here what the next round is made from; s starts it."
        self.app.call_later(lambda: self.app.screen.notify(text))
