"""Show the first screen: what the next round is made from, whether it can start, and what it will take."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.timer import Timer
from textual.widgets import Button, Input, OptionList, Select

from conself_local.home import user_home
from conself_local.machine.summary import describe_machine
from conself_local.model_files.bundled import bundled_model
from conself_local.model_files.installed import FoundModel, find_models
from conself_local.model_files.model import open_model
from conself_local.round import process as round_process
from conself_local.round.choices import FIRST, Choices, run_arguments
from conself_local.round.forecast import measure_rates
from conself_local.round.presets import list_presets
from conself_local.settings import FIELDS, PRESETS
from conself_local.store.nights import last_night
from conself_local.store.reports import progress
from conself_local.store.store import RoundInfo, Store
from tui.design import CHANGED, plural
from tui.screens.base import EXPECTED_ERRORS, BaseScreen, format_error
from tui.screens.looking import Looked, look_at
from tui.screens.start_words import forecast_lines, model_words, problems_words, unfinished_words
from tui.screens.steering import ACTIVE
from tui.widgets.ask_dialog import Answer, Ask
from tui.widgets.model_list import ModelList
from tui.widgets.panel import Panel
from tui.widgets.pick_file import PickFile
from tui.widgets.plain import Plain, PlainLabel
from tui.widgets.tick_box import TickBox

_LOOK_DELAY_S = 0.3
_BENCHMARKS = (("validation", "validation"), ("held-out", "held-out"), ("humaneval", "HumanEval"))
_FIELDS = {"model-path": "model", "problems": "problems", "limit": "limit", "rounds": "rounds", "seed": "seed"}
"""Id of a text field -> what it chooses."""


class StartScreen(BaseScreen):
    """The screen on which model, problems and plan are chosen, and a round is started."""

    NAME = "start"
    AUTO_FOCUS = "#models"
    REFRESH = 2.0
    HELP = (
        "What the next round is made from. The mark shows the model that a round would take: Enter chooses another, "
        "g browses files, and a path can be typed. Every choice is looked at as you make it and kept for the next "
        "time. What it will take comes from this computer's own measured speed with this model; f measures it. s, or "
        "Ctrl+S inside a field, starts. If a round is not finished, s continues it, and n begins another after a "
        "question. 9 changes the settings."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("s", "start", "Start, continue"),
        Binding("ctrl+s", "start", "Start, continue", priority=True),
        Binding("n", "another", "Begin another"),
        Binding("g", "pick", "Browse"),
        Binding("f", "measure", "Measure"),
    ]

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._latest: RoundInfo | None = None
        self._round_runs = False
        self._another = False
        self._looked: Looked | None = None
        self._timer: Timer | None = None
        self._measuring = self._asking = self._looking = self._look_again = False
        self._offered: list[tuple[str, str]] = []
        self._wanted = False
        self._failure = ""
        self._stored: list[dict[str, Any]] = []

    def compose_body(self) -> ComposeResult:
        choices = self.app_state.choices
        yield Plain("", id="night")
        with Horizontal(id="columns"):
            with VerticalScroll(id="chosen", can_focus=False):
                with Panel(heading="Model", keys="Enter chooses   g browse", id="model"):
                    yield ModelList(id="models")
                    yield Input(placeholder="another file: its path", id="model-path", compact=True)
                    yield Plain("", id="model-words")
                with Panel(heading="Unfinished round", keys="s continues   n begins another", id="unfinished"):
                    yield Plain("", id="unfinished-words")
                with Panel(heading="Problems", keys="empty: starter pack", id="problems-panel"):
                    yield Input(
                        choices.problems, placeholder="starter pack; or the path of a file", id="problems", compact=True
                    )
                    yield Plain("", id="problems-words")
                    with Horizontal(classes="row"):
                        yield PlainLabel("How many ")
                        yield Input(choices.limit, placeholder="all", id="limit", compact=True)
                        yield PlainLabel(" Rounds ")
                        yield Input(choices.rounds, id="rounds", compact=True)
                        yield PlainLabel(" Seed ")
                        yield Input(choices.seed, placeholder="next", id="seed", compact=True)
                with Panel(heading="Plan", keys="9 settings", id="plan"):
                    with Horizontal(classes="row"):
                        yield PlainLabel("Preset ")
                        yield Select(
                            self._presets(), value=self._preset(), allow_blank=False, id="preset", compact=True
                        )
                        yield PlainLabel(" Begin from ")
                        yield Select(
                            [("latest kept adapter", "adapter"), ("base model", "base")],
                            value="base" if choices.from_base else "adapter",
                            allow_blank=False,
                            id="from",
                            compact=True,
                        )
                    with Horizontal(classes="row"):
                        yield PlainLabel("Judge on ")
                        for value, label in _BENCHMARKS:
                            yield TickBox(label, value in choices.benchmarks, id=f"judge-{value}", compact=True)
                    yield Plain("", id="changes")
            with VerticalScroll(id="beside", can_focus=False):
                with Panel(heading="What it will take", keys="f measures", id="take"):
                    yield Plain("Looking ...", id="forecast")
                with Panel(heading="This computer", id="machine"):
                    yield Plain("Checking this computer ...", id="machine-lines")
        with Horizontal(id="go"):
            yield Button("Start round", id="start", compact=True, variant="primary")
            yield Plain("", id="ready")

    def _presets(self) -> list[tuple[str, str]]:
        return [(name, name) for name in (*PRESETS, *list_presets(self.app_state.home))]

    def _preset(self) -> str:
        kept = self.app_state.choices.preset
        return kept if kept in [name for name, _ in self._presets()] else next(iter(PRESETS))

    def on_mount(self) -> None:
        super().on_mount()
        self._choose(preset=self._preset())
        self._describe_computer()

    def load(self, store: Store) -> Any:
        home, latest = self.app_state.home, store.latest_round()
        stored = progress(store, latest.id) if latest is not None and latest.state == "running" else []
        running, night = round_process.running(home) is not None, last_night(store)
        said = night.sentence(is_running=running) if night else ""
        return latest, running, round_process.failure(home), stored, said

    def show(self, data: Any) -> None:
        self._latest, self._round_runs, self._failure, self._stored, night = data
        self.query_one("#night", Plain).update(night[:1].upper() + night[1:])
        self.query_one("#night", Plain).display = bool(night)
        first = self._latest is None and not self._round_runs
        if first and self.focused in (None, self.query_one("#models")) and not self._failure and self._looked is None:
            self.query_one("#start").focus()
        self._show_presets()
        self._draw()
        self._look()

    def _show_presets(self) -> None:
        """Offer the presets that the home has now, which the settings screen may have added to."""
        presets, offered = self.query_one("#preset", Select), self._presets()
        with presets.prevent(Select.Changed):
            if offered != self._offered:
                self._offered = offered
                presets.set_options(offered)
            presets.value = self._preset()

    @property
    def _is_unfinished(self) -> bool:
        return self._latest is not None and self._latest.state == "running"

    @property
    def _continues(self) -> bool:
        """Whether a start continues the unfinished round instead of beginning one."""
        return self._is_unfinished and not self._another

    def _draw(self) -> None:
        """Draw what follows from the state of the home and from what was looked at."""
        self.set_class(self._continues or self._round_runs, "-unfinished")
        if (self._continues or self._round_runs) and not (self.focused and self.focused.region):
            self.query_one("#start").focus()
        if self._latest is not None and (self._continues or self._round_runs):
            self.query_one("#unfinished", Panel).set_heading(
                f"Round {self._latest.id} is {'running' if self._round_runs else 'not finished'}"
            )
            self.query_one("#unfinished-words", Plain).update(
                unfinished_words(self._latest, self._stored, running=self._round_runs)
            )
        self.query_one("#unfinished", Panel).set_keys(
            "2 shows it" if self._round_runs else "s continues   n begins another"
        )
        self._draw_button()
        self.refresh_bindings()
        changes = self.app_state.choices.changes
        names = ", ".join(FIELDS[name].about.label.lower() for name in list(changes)[:4])
        more = f" and {len(changes) - 4} more" if len(changes) > 4 else ""
        said = f"{CHANGED} {plural(len(changes), 'setting')} changed: {names}{more}; 9 shows them"
        unchanged = "All settings are those of the preset; 9 changes them."
        if dataclasses.replace(self.app_state.choices, theme="", model="", problems="") == FIRST:
            said = f"{CHANGED} A first round of minutes: 16 problems, one sample per judged problem; 9 changes this."
        self.query_one("#changes", Plain).update(said if changes else unchanged)
        self.set_status(*self._state(), is_error=bool(self._failure))

    def _draw_button(self) -> None:
        button, ready = self.query_one("#start", Button), self.query_one("#ready", Plain)
        fault = self._looked.fault if self._looked else "looking at the choices ..."
        if self._round_runs:
            button.label, button.disabled = "Show the round", False
            ready.update("")
            return
        next_id = (self._latest.id if self._latest else 0) + 1
        label = f"Continue round {next_id - 1}" if self._continues else f"Start round {next_id}"
        button.label = label
        button.disabled = bool(self._looked and fault) and not self._continues
        if self._continues:
            ready.update("✓ it continues as it was started; nothing that is stored is lost")
        elif fault:
            ready.update(f"✗ {label} needs a change: {fault}" if self._looked else f"· {fault}")
        else:
            cautions = self._looked.cautions if self._looked else []
            ready.update(f"! {cautions[0]}" if cautions else "✓ ready: s starts it")
        ready.set_class(bool(self._looked and fault) and not self._continues, "-bad")

    def _state(self) -> tuple[str]:
        if self._round_runs:
            return (f"Round {self._latest.id if self._latest else 1} is running. Press 2 to see it.",)
        if self._failure:
            return (f"The last round ended early: {self._failure}; then press s to try again",)
        if self._latest is None:
            return ("Nothing yet: one key starts. Enter or s begins a round with what is chosen here.",)
        return ("",)

    def _choose(self, **values: Any) -> None:
        try:
            self.app_state.choose(**values)
        except OSError as error:
            self.notify(f"this choice cannot be kept in the home: {error}", severity="error")

    @on(Input.Changed)
    def _typed(self, event: Input.Changed) -> None:
        """Take what is typed at once, and look at it when no key has come for a moment."""
        name = _FIELDS[str(event.input.id)]
        if name == "model" and not event.value and self.query_one(ModelList).holds(self.app_state.choices.model):
            return  # the field is empty because a model of the list is chosen
        self._choose(**{name: event.value})
        self.query_one(ModelList).mark(self.app_state.choices.model)
        self._looked = None
        self._draw_button()
        self._look_soon()

    @on(Input.Submitted)
    @on(Input.Blurred)
    def _left(self) -> None:
        self._look()

    def _look_soon(self) -> None:
        if self._timer:
            self._timer.stop()
        self._timer = self.set_timer(_LOOK_DELAY_S, self._look)

    def _look(self) -> None:
        """Look at the choices in a thread; if it is at work already, it looks once more afterwards."""
        if self._looking:
            self._look_again = True
            return
        self._looking = True
        self._look_at(self.app_state.choices)

    @work(thread=True, group="look-at")
    def _look_at(self, choices: Choices) -> None:
        try:
            looked = look_at(self.app_state, choices)
        except EXPECTED_ERRORS as error:  # the store cannot be read, for example
            looked = Looked(fault=format_error(error))
        self.app.call_from_thread(self._show_looked, choices, looked)

    def _show_looked(self, choices: Choices, looked: Looked) -> None:
        self._looking = False
        if self._look_again or choices != self.app_state.choices:
            self._look_again = False
            self._look()
        if not self.is_attached or choices != self.app_state.choices:
            return
        self._looked = looked
        self.query_one("#model-words", Plain).update(model_words(looked))
        self.query_one("#problems-words", Plain).update(problems_words(looked))
        if not self._measuring:
            self.query_one("#forecast", Plain).update(forecast_lines(looked, choices, self.has_class("-tiny")))
        self._draw()
        if self._wanted:
            self._wanted = False
            self.action_start()

    @work(thread=True, exclusive=True, group="look")
    def _describe_computer(self) -> None:
        self.app.call_from_thread(self._show_models, find_models(fetched=self.app_state.home.models))
        lines = describe_machine(self.app_state.home)
        self.app.call_from_thread(self.query_one("#machine-lines", Plain).update, "\n".join(lines))

    def _show_models(self, found: list[FoundModel]) -> None:
        models, chosen = self.query_one(ModelList), self.app_state.choices.model
        models.show(found, chosen)
        self.query_one("#model", Panel).set_heading(f"Model  {plural(len(found), 'model')} on this computer")
        if chosen and not models.holds(chosen):
            self.query_one("#model-path", Input).value = chosen

    @on(OptionList.OptionSelected, "#models")
    def _model_chosen(self, event: OptionList.OptionSelected) -> None:
        first = event.option_list.get_option_at_index(0).id
        self._choose(model="" if event.option.id == first else str(event.option.id))
        self.query_one("#model-path", Input).value = ""
        self.query_one(ModelList).mark(self.app_state.choices.model)
        self._look()

    def action_pick(self) -> None:
        def picked(path: Path | None) -> None:
            if path:
                self.query_one("#model-path", Input).value = str(path)

        self.app.push_screen(PickFile(user_home() or Path.cwd()), picked)

    @on(TickBox.Changed)
    def _judge_changed(self) -> None:
        ticked = tuple(value for value, _ in _BENCHMARKS if self.query_one(f"#judge-{value}", TickBox).value)
        self._choose(benchmarks=ticked)
        self._look()

    @on(Select.Changed, "#from")
    def _from_changed(self, event: Select.Changed) -> None:
        self._choose(from_base=event.value == "base")
        self._look()

    @on(Select.Changed, "#preset")
    def _preset_changed(self, event: Select.Changed) -> None:
        """Take another preset; with settings changed by hand, ask what becomes of them."""
        old, new = self.app_state.choices.preset, str(event.value)
        if new == old or self._asking:
            return

        def answered(answer: str | None) -> None:
            self._asking = False
            if answer is None:
                self.query_one("#preset", Select).value = old
                return
            self._choose(preset=new, **({"changes": {}} if answer == "drop" else {}))
            self._look()

        if not self.app_state.choices.changes:
            answered("keep")
            return
        self._asking = True
        answers = [Answer("k", "Keep my changes on top of it", "keep"), Answer("d", "Drop my changes", "drop")]
        count = plural(len(self.app_state.choices.changes), "setting")
        self.app.push_screen(Ask(f"Take the preset {new}?", f"You have changed {count}.", answers), answered)

    @on(Button.Pressed, "#start")
    def _pressed(self) -> None:
        self.action_start()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Return whether a key acts now: another round is begun only if one is not finished."""
        if action == "another":
            return self._continues and not self._round_runs
        return super().check_action(action, parameters)

    def action_another(self) -> None:
        """Show the choices for another round after a question; nothing changes before that round starts."""

        def answered(answer: str | None) -> None:
            self._another = answer == "another"
            self._draw()
            self.refresh_bindings()

        text = (
            f"Round {self._latest.id if self._latest else ''} is left behind, and cannot be continued once another one "
            "starts. What it stored stays in the home."
        )
        self.app.push_screen(Ask("Begin another round?", text, [Answer("n", "Begin another", "another")]), answered)

    def action_start(self) -> None:
        if self.app_state.round_is_active:
            self._show_round(ACTIVE)
            return
        if self._continues:
            self._begin()
        elif self._looked is None:
            self._wanted = True  # it starts once they have been looked at
            self._look()
        elif self._looked.fault:
            self.notify(f"{self._looked.fault}", severity="error")
        elif self._looked.cautions:
            text = "\n".join(self._looked.cautions)
            ask = Ask("Start it all the same?", text, [Answer("s", "Start the round", "start")], stay="Not now")
            self.app.push_screen(ask, lambda answer: self._begin() if answer else None)
        else:
            self._begin()

    def _begin(self) -> None:
        continues, another = self._continues, self._another and self._is_unfinished

        def start(store: Store) -> str:
            latest = store.latest_round()
            if continues:
                said = f"Round {latest.id if latest else ''} continues as it was started; x stops it, p holds it."
                return said if self.app_state.start_round([]) else ACTIVE
            arguments = run_arguments(self.app_state.home, self.app_state.choices, new=another)
            said = f"Round {latest.id + 1 if latest else 1} has begun; x stops it, p holds it."
            return said if self.app_state.start_round(arguments) else ACTIVE

        def started(said: str) -> None:
            self._another = self.app_state.touched = False
            self._show_round(said)

        self.run_with_store(start, started)

    def _show_round(self, said: str) -> None:
        self.app.switch_mode("round")
        self.app.call_later(lambda: self.app.screen.notify(said))

    def action_measure(self) -> None:
        if self._measuring:
            return
        self._measuring = True
        self.query_one("#forecast", Plain).update("Measuring for about 20 seconds ...")
        self._measure()

    @work(thread=True, exclusive=True, group="forecast")
    def _measure(self) -> None:
        try:
            model = open_model(self.app_state.model or bundled_model())
            _, said = measure_rates(self.app_state.home, model)
        except EXPECTED_ERRORS as error:
            said = format_error(error)
        self.app.call_from_thread(self._measured, said)

    def _measured(self, said: str) -> None:
        self._measuring = False
        if said:
            self.notify(said, severity="error")
        self._look()
