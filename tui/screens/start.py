"""Show the first screen: this computer, the models on it and the problems to train on; start a round."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any, ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.widgets import Input, OptionList, Select
from textual.widgets.option_list import Option

from conself_local.foreign_text import shown
from conself_local.home import expand_user, user_home
from conself_local.machine.openvino import openvino_version
from conself_local.machine.summary import describe_machine
from conself_local.model_files.bundled import bundled_model
from conself_local.model_files.installed import describe_models, find_models
from conself_local.model_files.model_file import load_model_file
from conself_local.model_files.ollama import ignored_layers
from conself_local.round import process as round_process
from conself_local.round.forecast import forecast, starter_size
from conself_local.round.views import summary_of_home
from conself_local.sampling.tuning import describe_choice
from conself_local.store.store import Store
from tui.design import plural
from tui.screens.base import EXPECTED_ERRORS, BaseScreen, format_error
from tui.widgets.panel import Panel
from tui.widgets.pick_file import PickFile
from tui.widgets.plain import Plain, PlainLabel


class StartScreen(BaseScreen):
    """The screen on which a model and problems are chosen and a round is started."""

    NAME = "start"
    AUTO_FOCUS = "#models"
    REFRESH = 3.0
    ALWAYS = True  # a round may start or end without writing to the store
    HELP = (
        "This computer, the models on it, and what a round would train on. s starts a round or continues the "
        "unfinished one, g picks a model file, f measures for some seconds how fast this computer samples and trains."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("s", "start", "Start a round"),
        Binding("g", "pick", "Pick a file"),
        Binding("f", "forecast", "Forecast"),
    ]

    def compose_body(self) -> ComposeResult:
        with Horizontal():
            with Panel(heading="Next round", keys="s starts it   g picks a file", id="choices"):
                yield PlainLabel("Model (Enter chooses)")
                yield OptionList(id="models", markup=False)
                yield PlainLabel("Or a GGUF file")
                yield Input(placeholder="path, then Enter", id="model-path", compact=True)
                yield PlainLabel("Problems (empty: starter pack)")
                yield Input(placeholder="path of a problems file", id="problems", compact=True)
                with Horizontal(id="small"):
                    yield Select(
                        [("laptop", "laptop"), ("paper", "paper")],
                        value="laptop",
                        allow_blank=False,
                        id="preset",
                        compact=True,
                    )
                    yield Input(placeholder="at most n problems", id="limit", type="integer", compact=True)
            with Panel(heading="This computer", keys="f forecast", id="machine"), VerticalScroll():
                yield Plain("Checking this computer ...", id="machine-lines")
                yield Plain("", id="forecast")

    def on_mount(self) -> None:
        super().on_mount()
        self._describe_computer()

    def load(self, store: Store) -> Any:
        return (
            summary_of_home(store),
            round_process.running(self.app_state.home),
            round_process.failure(self.app_state.home),
        )

    def show(self, data: Any) -> None:
        home, running, failure = data
        if running:
            self.set_status(f"Round {home['latest']} is running. Press 2 to see it.")
        elif failure:
            self.set_status(f"The last round ended early: {failure}; then press s to try again", is_error=True)
        elif home["state"] == "running":
            self.set_status(f"Round {home['latest']} is not finished. Press s to continue it.")
        elif home["latest"] is None:
            self.set_status("No round yet. Press s to start one with the bundled model and the starter pack.")
        else:
            counts = f"{plural(home['rounds'], 'round')}, {plural(home['adapters'], 'adapter')} in this home."
            self.set_status(f"{counts} Press s to start another round.")

    @work(thread=True, exclusive=True, group="look")
    def _describe_computer(self) -> None:
        found = describe_models(find_models(fetched=self.app_state.home.models))
        machine_lines = describe_machine(self.app_state.home)
        if openvino_version():
            machine_lines[1:1] = self._sampling_lines()
        self.app.call_from_thread(self._show_computer, found, machine_lines)

    def _sampling_lines(self) -> list[str]:
        """Return which engine samples, for the model in use; nothing without one, and other lines say so."""
        with contextlib.suppress(*EXPECTED_ERRORS):
            return [
                describe_choice(load_model_file(self.app_state.model or bundled_model()), self.app_state.home.cache)
            ]
        return []

    def _show_computer(self, found: list[dict[str, Any]], machine_lines: list[str]) -> None:
        models = self.query_one("#models", OptionList)
        models.clear_options()
        models.add_options(
            [
                Option(shown(f"{m['source']}: {m['name']}\n  {m['what']}"), id=m["path"], disabled=not m["usable"])
                for m in found
            ]
        )
        if not found:
            message = "No model found. Get one with `conself models get`, or enter the path of a GGUF file above."
            self.set_status(message, is_error=True)
        self.query_one("#machine-lines", Plain).update("\n".join(machine_lines))

    @on(OptionList.OptionSelected, "#models")
    def _model_chosen(self, event: OptionList.OptionSelected) -> None:
        self._choose(Path(event.option.id or ""))

    @on(Input.Submitted, "#model-path")
    def _path_given(self, event: Input.Submitted) -> None:
        self._choose(Path(event.value.strip()))

    @on(Input.Submitted, "#problems")
    @on(Input.Submitted, "#limit")
    def _entered(self) -> None:
        self.query_one("#models").focus()

    def action_pick(self) -> None:
        def picked(path: Path | None) -> None:
            if path:
                self._choose(path)

        self.app.push_screen(PickFile(user_home() or Path.cwd()), picked)

    @work(thread=True, exclusive=True, group="choose")
    def _choose(self, path: Path) -> None:
        """Read and choose a model file, in a thread, because the file may be on a slow disk."""
        try:
            path = expand_user(path)
            described = load_model_file(path)
        except EXPECTED_ERRORS as error:
            self.app.call_from_thread(self.notify, format_error(error), severity="error")
            return
        self.app.call_from_thread(self._chosen, path, described.name, ignored_layers(path))

    def _chosen(self, path: Path, name: str, ignored: list[str]) -> None:
        self.app_state.model = path
        self.query_one("#model-path", Input).value = str(path)
        self.notify(" ".join([f"Model: {name} ({path.name}). Press s to start a round with it.", *ignored]))

    @on(Input.Changed)
    def _typed(self, event: Input.Changed) -> None:
        self.app_state.fields[str(event.input.id)] = event.value

    @on(Select.Changed, "#preset")
    def _preset_chosen(self, event: Select.Changed) -> None:
        self.app_state.fields["preset"] = str(event.value)

    def action_start(self) -> None:
        if round_process.running(self.app_state.home):
            self.notify("A round is already running. Press 2 to see it.", severity="error")
            return

        def start(store: Store) -> bool:
            unfinished = summary_of_home(store)["state"] == "running"
            round_process.start(self.app_state.home, [] if unfinished else self.app_state.round_arguments())
            return unfinished

        def started(unfinished: bool) -> None:
            self.app.switch_mode("round")
            if unfinished:
                text = "The unfinished round continues as it was started; the fields are for a new one."
                self.app.call_later(lambda: self.app.screen.notify(text))

        self.run_with_store(start, started)

    def action_forecast(self) -> None:
        self.query_one("#forecast", Plain).update("Measuring for about 20 seconds ...")
        self._forecast()

    @work(thread=True, exclusive=True, group="forecast")
    def _forecast(self) -> None:
        limit = self.query_one("#limit", Input).value.strip()
        try:
            typed = self.query_one("#model-path", Input).value.strip()
            lines = forecast(
                self.app_state.home,
                load_model_file(expand_user(Path(typed)) if typed else bundled_model()),
                int(limit or starter_size()),
            )
        except EXPECTED_ERRORS as error:
            lines = [format_error(error)]
        self.app.call_from_thread(self.query_one("#forecast", Plain).update, "\n".join(["", "Forecast:", *lines]))
