"""The first screen: this computer, the models on it, what to train on; s starts a round."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.widgets import Input, Label, OptionList, Select, Static
from textual.widgets.option_list import Option

from conself_local.machine.summary import describe_machine
from conself_local.model_files.bundled import bundled_model
from conself_local.model_files.installed import describe_models, find_models
from conself_local.model_files.model_file import load_model_file
from conself_local.round import process as round_process
from conself_local.round.forecast import forecast, starter_size
from conself_local.round.views import summary_of_home
from conself_local.store.store import Store
from tui.screens.base import EXPECTED_ERRORS, BaseScreen, format_error
from tui.widgets.pick_file import PickFile


class StartScreen(BaseScreen):
    NAME = "start"
    AUTO_FOCUS = "#models"
    HELP = (
        "This computer, the models on it, and what a round would train on. s starts a round (or goes on with the unfinished one), "
        "g picks a model file, "
        "f measures for some seconds how fast this computer samples and trains."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("s", "start", "Start a round"),
        Binding("g", "pick", "Pick a file"),
        Binding("f", "forecast", "Forecast"),
    ]

    def compose_body(self) -> ComposeResult:
        yield Static("conself: a coding model teaches itself, on this computer, offline.", id="welcome", markup=False)
        with Horizontal():
            with Vertical(id="choices"):
                yield Label("Model (Enter chooses)")
                yield OptionList(id="models")
                yield Label("Or a GGUF file")
                yield Input(placeholder="path, Enter", id="model-path")
                yield Label("Problems (empty: starter pack)")
                yield Input(placeholder="path of a problems file", id="problems")
                with Horizontal(id="small"):
                    yield Select(
                        [("laptop", "laptop"), ("paper", "paper")],
                        value="laptop",
                        allow_blank=False,
                        id="preset",
                        compact=True,
                    )
                    yield Input(placeholder="at most ... problems", id="limit", type="integer", compact=True)
            with VerticalScroll(id="machine"):
                yield Static("looking at this computer ...", id="words", markup=False)
                yield Static("", id="forecast", markup=False)

    def on_mount(self) -> None:
        super().on_mount()
        self._look()

    def load(self, store: Store) -> Any:
        return (
            summary_of_home(store),
            round_process.running(self.app_state.home),
            round_process.failure(self.app_state.home),
        )

    def show(self, data: Any) -> None:
        home, running, failure = data
        if running:
            self.set_status(f"round {home['latest']} is running; 2 shows it")
        elif failure:
            self.set_status(f"the last round ended early: {failure}", bad=True)
        elif home["state"] == "running":
            self.set_status(f"round {home['latest']} is not finished; s goes on with it")
        elif home["latest"] is None:
            self.set_status("no round yet: press s to begin one with the bundled model and the starter pack")
        else:
            self.set_status(f"{home['rounds']} rounds, {home['adapters']} adapters; s begins another round")

    @work(thread=True, exclusive=True, group="look")
    def _look(self) -> None:
        found = describe_models(find_models(fetched=self.app_state.home.models))
        words = describe_machine(self.app_state.home)
        self.app.call_from_thread(self._looked, found, words)

    def _looked(self, found: list[dict[str, Any]], words: list[str]) -> None:
        models = self.query_one("#models", OptionList)
        models.clear_options()
        models.add_options(
            [
                Option(f"{m['source']}: {m['name']}\n  {m['what']}", id=m["path"], disabled=not m["usable"])
                for m in found
            ]
        )
        if not found:
            self.set_status("no model found: get one with `conself models get`, or name a GGUF file below", bad=True)
        self.query_one("#words", Static).update("\n".join(words))

    @on(OptionList.OptionSelected, "#models")
    def _model_chosen(self, event: OptionList.OptionSelected) -> None:
        self._choose(Path(event.option.id or ""))

    @on(Input.Submitted, "#model-path")
    def _path_given(self, event: Input.Submitted) -> None:
        self._choose(Path(event.value.strip()).expanduser())

    @on(Input.Submitted, "#problems")
    @on(Input.Submitted, "#limit")
    def _entered(self) -> None:
        self.query_one("#models").focus()

    def action_pick(self) -> None:
        def picked(path: Path | None) -> None:
            if path:
                self._choose(path)

        self.app.push_screen(PickFile(Path.home()), picked)

    @work(thread=True, exclusive=True, group="choose")
    def _choose(self, path: Path) -> None:
        """In a thread: the file may lie on a slow disk."""
        try:
            described = load_model_file(path)
        except EXPECTED_ERRORS as error:
            self.app.call_from_thread(self.notify, format_error(error), severity="error")
            return
        self.app_state.model = path
        self.app.call_from_thread(self.notify, f"model: {described.name} ({path.name}); s starts a round with it")

    def action_start(self) -> None:
        if round_process.running(self.app_state.home):
            self.notify("a round is running already; 2 shows it", severity="error")
            return
        asked = self._asked()

        def start(store: Store) -> None:
            round_process.start(self.app_state.home, [] if summary_of_home(store)["state"] == "running" else asked)

        self.run_with_store(start, lambda _: self.app.switch_mode("round"))

    def _asked(self) -> list[str]:
        arguments = ["--preset", str(self.query_one("#preset", Select).value)]
        if self.app_state.model:
            arguments += ["--model", str(self.app_state.model)]
        if problems := self.query_one("#problems", Input).value.strip():
            arguments += ["--problems", str(Path(problems).expanduser())]
        if limit := self.query_one("#limit", Input).value.strip():
            arguments += ["--limit", limit]
        return arguments

    def action_forecast(self) -> None:
        self.query_one("#forecast", Static).update("measuring: some 20 s ...")
        self._forecast()

    @work(thread=True, exclusive=True, group="forecast")
    def _forecast(self) -> None:
        limit = self.query_one("#limit", Input).value.strip()
        try:
            words = forecast(
                self.app_state.home,
                load_model_file(self.app_state.model or bundled_model()),
                int(limit or starter_size()),
            )
        except EXPECTED_ERRORS as error:
            words = [format_error(error)]
        self.app.call_from_thread(self.query_one("#forecast", Static).update, "\n".join(["", "Forecast:", *words]))
