"""Show every setting of the next round as a form made from its description; change it, find it, keep presets."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.widgets import Input

from conself_local.errors import ConselfError
from conself_local.round.choices import chosen_settings, preset_settings
from conself_local.round.presets import list_presets, save_preset
from conself_local.settings import (
    FIELDS,
    GROUPS,
    PRESETS,
    FormField,
    Settings,
    change_text,
    find_conflicts,
    find_fields,
    format_value,
    get_value,
    list_form,
)
from conself_local.store.store import RoundInfo, Store
from tui.design import ACTIVE, CHANGED, MUTED, plural
from tui.screens.base import EXPECTED_ERRORS, BaseScreen, format_error
from tui.screens.looking import look_at
from tui.screens.setting_words import describe, effect_words, value_words
from tui.widgets.ask_dialog import Answer, Ask, AskLine
from tui.widgets.big_table import BigTable, Cells, Column
from tui.widgets.panel import Panel
from tui.widgets.plain import Plain

_ALL = "All settings"


@dataclasses.dataclass(frozen=True)
class _Group:
    """A row of the list of groups; the name of all settings is empty."""

    name: str
    label: str
    changed: int


class SettingsScreen(BaseScreen):
    """The screen of the settings of the next round, and of those of the latest round, which stay as they are."""

    NAME = "settings"
    AUTO_FOCUS = "#fields"
    HELP = (
        "The settings of the next round, by the stage that they shape. Enter changes the one under the cursor: it asks "
        "for a value, or takes the next choice. Del takes the preset's value back, and • marks what differs from it. "
        "/ finds by label, meaning or name; left and right change the group. Ctrl+S keeps all of them as a preset of "
        "this home, g chooses a preset, v shows the settings of the latest round, which do not change. t changes the "
        "theme."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "find", "Find"),
        Binding("delete,backspace", "take_back", "Back to preset", show=False),
        Binding("left", "group(-1)", "Group", key_display="←→"),
        Binding("right", "group(1)", "Next group", show=False),
        Binding("ctrl+s", "save", "Keep as preset", priority=True),
        Binding("g", "choose_preset", "Presets"),
        Binding("v", "view", "Latest round"),
    ]

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._latest: RoundInfo | None = None
        self._next: Settings | None = None
        self._of_preset: Settings | None = None
        self._group = ""
        self._shows_latest = False
        self._editing = ""
        """Name of the setting whose field is open; empty if none is."""
        self._weighing = self._weigh_again = False
        self._effect = ""

    def compose_body(self) -> ComposeResult:
        with Horizontal(id="form"):
            with Panel(heading="Groups", keys="←→", id="groups-panel"):
                yield BigTable([Column("group", 12, grows=True), Column("", 3)], self._group_cells, id="groups")
                yield Plain("", id="values")
            with Panel(heading="Settings", keys="Enter changes   del back to preset", id="list"):
                yield Input(placeholder="part of a label, a meaning or a name", id="find", compact=True)
                columns = [
                    Column("setting", 22, grows=True),
                    Column("", 1),
                    Column("value", 14),
                    Column("preset", 14, from_width=56),
                ]
                yield BigTable(columns, _cells, id="fields")
                with Vertical(id="edit"):
                    yield Plain("", id="edit-label")
                    yield Input(id="value", compact=True)
                    yield Plain("", id="reason")
            with Panel(heading="Meaning", id="about-panel"), VerticalScroll(can_focus=False):
                yield Plain("", id="about")

    def load(self, store: Store) -> Any:
        choices, home = self.app_state.choices, self.app_state.home
        return store.latest_round(), chosen_settings(home, choices), preset_settings(home, choices.preset)

    def show(self, data: Any) -> None:
        self._latest, self._next, self._of_preset = data
        if self._latest is None:
            self._shows_latest = False
        self._draw()
        self._weigh()

    @property
    def _shown(self) -> tuple[Settings, Settings]:
        """The settings that are listed, and those that they are compared with."""
        assert self._next is not None and self._of_preset is not None, "loaded before anything is drawn"
        if self._shows_latest and self._latest is not None:
            return self._latest.settings, self._next
        return self._next, self._of_preset

    def _draw(self) -> None:
        if self._next is None:
            return
        form = list_form(*self._shown)
        changed = {group.name: sum(row.is_changed for row in group.fields) for group in form}
        groups = [_Group("", _ALL, sum(changed.values()))]
        groups += [_Group(name, about.label, changed[name]) for name, about in GROUPS.items()]
        self.query_one("#groups", BigTable).set_rows(groups, key=lambda row: row.name)
        words = self.query_one("#find", Input).value.strip()
        wanted = {field.name for field in find_fields(words)} if words else set(FIELDS)
        rows = [
            row
            for group in form
            for row in group.fields
            if row.field.name in wanted and (words or self._group in ("", group.name))
        ]
        self.query_one("#fields", BigTable).set_rows(rows, key=lambda row: row.field.name)
        self._draw_headings(len(rows), words, sum(changed.values()))
        self._draw_state()

    def _draw_headings(self, count: int, words: str, changed: int) -> None:
        where = f"found {count}" if words else GROUPS[self._group].label if self._group else _ALL
        choices = self.app_state.choices
        if self._shows_latest and self._latest is not None:
            runs = self._overview is not None and self._overview.state in ("running", "paused", "starting")
            state = "as it ran" if self._latest.state != "running" else "running" if runs else "not finished"
            heading = f"{where} · round {self._latest.id}, {state}: read only"
            keys = f"{plural(changed, 'difference')} to the next round   v next round"
        else:
            heading = f"{where} · next round, preset {choices.preset}"
            keys = f"{changed} changed   Enter changes   del back to preset"
        panel = self.query_one("#list", Panel)
        panel.set_heading(heading)
        panel.set_keys(keys)
        lines = [f"home {self.app_state.home.path}", f"theme {self.app.theme}"]
        self.query_one("#values", Plain).update("\n".join(lines))

    def _draw_state(self) -> None:
        """Name the settings that contradict each other; such a round cannot start."""
        conflicts = find_conflicts(self._next) if self._next and not self._shows_latest else []
        self.set_status("; ".join(conflict.message for conflict in conflicts), is_error=bool(conflicts))

    def _group_cells(self, row: _Group) -> Cells:
        style = ACTIVE if row.name == self._group else ""
        return [(row.label, style), (f"{CHANGED}{row.changed}" if row.changed else "", ACTIVE)]

    @on(BigTable.Moved, "#fields")
    def _moved(self, event: BigTable.Moved) -> None:
        self._describe(event.row)

    def _describe(self, row: FormField) -> None:
        self.query_one("#about-panel", Panel).set_heading(f"{GROUPS[row.field.group].label}: {row.field.about.label}")
        preset = "next round" if self._shows_latest else self.app_state.choices.preset
        self.query_one("#about", Plain).update(describe(row, preset, self._effect, short=self.has_class("-tiny")))

    @on(BigTable.Moved, "#groups")
    def _group_moved(self, event: BigTable.Moved) -> None:
        if event.control.has_focus and event.row.name != self._group:
            self._group = event.row.name
            self._draw()

    @on(BigTable.Chosen, "#groups")
    def _group_chosen(self) -> None:
        self.query_one("#fields").focus()

    def action_group(self, by: int) -> None:
        names = ["", *GROUPS]
        self._group = names[(names.index(self._group) + by) % len(names)]
        self.query_one("#find", Input).value = ""
        self.query_one("#groups", BigTable).cursor = names.index(self._group)
        self._draw()

    def action_find(self) -> None:
        self.add_class("-finding")
        self.query_one("#find").focus()

    @on(Input.Changed, "#find")
    def _find_changed(self) -> None:
        self._draw()

    @on(Input.Submitted, "#find")
    def _found(self) -> None:
        self.query_one("#fields").focus()

    @on(Input.Blurred, "#find")
    def _find_left(self, event: Input.Blurred) -> None:
        self.set_class(bool(event.value), "-finding")

    def action_view(self) -> None:
        """Show the settings of the latest round instead of those of the next, or back."""
        if self._latest is None:
            self.notify("There is no round yet, so there are only the settings of the next one.")
            return
        self._shows_latest = not self._shows_latest
        self._draw()

    @on(BigTable.Chosen, "#fields")
    def _edit(self, event: BigTable.Chosen) -> None:
        """Take the next choice, or open the field for a value."""
        row: FormField = event.row
        if self._shows_latest:
            self.notify("A round keeps its settings. v shows those of the next round, which can be changed.")
            return
        choices = row.field.choices or (("true", "false") if row.field.kind is bool else ())
        if choices:
            options = [*choices, "none"] if row.field.optional else list(choices)
            at = options.index(row.text) if row.text in options else -1
            self._change(row.field.name, options[(at + 1) % len(options)])
            return
        self._editing = row.field.name
        self.add_class("-editing")
        self.query_one("#edit-label", Plain).update(
            f"{row.field.about.label}   Enter keeps it   Esc leaves it as it was"
        )
        field = self.query_one("#value", Input)
        field.value = row.text
        field.focus()
        field.action_select_all()

    @on(Input.Changed, "#value")
    def _value_typed(self, event: Input.Changed) -> None:
        """Check the value and its pairs of fields while it is typed."""
        if self._editing and self._next is not None:
            self.query_one("#reason", Plain).update(value_words(self._next, self._editing, event.value))

    @on(Input.Submitted, "#value")
    def _value_given(self, event: Input.Submitted) -> None:
        name = self._editing
        if name and self._change(name, event.value):
            self.query_one("#fields").focus()

    @on(Input.Blurred, "#value")
    def _value_left(self) -> None:
        self._editing = ""
        self.remove_class("-editing")

    def _change(self, name: str, text: str) -> bool:
        """Change a setting of the next round; return whether the value is allowed."""
        assert self._next is not None and self._of_preset is not None, "loaded before a field can be chosen"
        try:
            changed = change_text(self._next, name, text)
        except ValueError as error:
            self.notify(f"{FIELDS[name].about.label}: {error}", severity="error")
            return False
        value = format_value(get_value(changed, name))
        changes = {other: kept for other, kept in self.app_state.choices.changes.items() if other != name}
        if value != format_value(get_value(self._of_preset, name)):
            changes[name] = value
        self._next = changed
        self._keep(changes=changes)
        return True

    def _keep(self, **values: Any) -> None:
        try:
            self.app_state.choose(**values)
        except OSError as error:
            self.notify(f"this choice cannot be kept in the home: {error}", severity="error")
        self._draw()
        self._weigh()

    def action_take_back(self) -> None:
        row = self.query_one("#fields", BigTable).row
        if row is not None and row.is_changed and not self._shows_latest:
            self._change(row.field.name, row.preset_text)

    def action_choose_preset(self) -> None:
        """Take another preset; what was changed by hand goes, and the question says so."""
        home, choices = self.app_state.home, self.app_state.choices
        names = [*PRESETS, *list_presets(home)]
        answers = [Answer(str(i), f"Take {name}", name) for i, name in enumerate(names[:9], 1)]
        lost = f" {plural(len(choices.changes), 'changed setting')} then goes back to it." if choices.changes else ""

        def answered(name: str | None) -> None:
            if name is not None:
                self._keep(preset=name, changes={})
                self.action_reload()

        question = f"The next round starts from the preset {choices.preset}.{lost}"
        self.app.push_screen(Ask("Choose a preset", question, answers, stay=f"Stay with {choices.preset}"), answered)

    def action_save(self) -> None:
        """Keep the settings of the next round as a preset of this home, and continue from it."""

        def named(name: str | None) -> None:
            if not name or self._next is None:
                return
            try:
                save_preset(self.app_state.home, name.strip(), self._next)
            except (ConselfError, OSError) as error:
                self.notify(format_error(error), severity="error")
                return
            self._keep(preset=name.strip(), changes={})
            self.notify(f"Kept as the preset {name.strip()}; the next round starts from it.")
            self.action_reload()

        self.app.push_screen(AskLine("Keep these settings as a preset: its name"), named)

    def _weigh(self) -> None:
        """Find out in a thread how long a round takes with these settings, and with the preset's."""
        if self._weighing:
            self._weigh_again = True
            return
        self._weighing = True
        self._weigh_in_thread()

    @work(thread=True, group="weigh")
    def _weigh_in_thread(self) -> None:
        choices = self.app_state.choices
        try:
            now = look_at(self.app_state, choices)
            before = look_at(self.app_state, dataclasses.replace(choices, changes={})) if choices.changes else now
            effect = effect_words(now, before)
        except EXPECTED_ERRORS as error:
            effect = format_error(error)
        self.app.call_from_thread(self._weighed, effect)

    def _weighed(self, effect: str) -> None:
        self._weighing, self._effect = False, effect
        if self._weigh_again:
            self._weigh_again = False
            self._weigh()
        if self.is_attached and (row := self.query_one("#fields", BigTable).row) is not None:
            self._describe(row)


def _cells(row: FormField) -> Cells:
    sign = (CHANGED, ACTIVE) if row.is_changed else ""
    return [row.field.about.label, sign, (row.text, ACTIVE if row.is_changed else ""), (row.preset_text, MUTED)]
