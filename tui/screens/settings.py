"""Show the home, the model, the theme and the settings of the round; change the theme."""

from __future__ import annotations

from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll

from conself_local.settings import LAPTOP, list_form
from conself_local.store.store import Store
from tui.screens.base import BaseScreen
from tui.widgets.plain import Plain

THEMES = ("textual-dark", "textual-light", "nord", "gruvbox", "solarized-light")


class SettingsScreen(BaseScreen):
    """The screen of settings, those of the latest round or, without one, of the preset `laptop`."""

    NAME = "settings"
    HELP = (
        "t changes the theme, light or dark. The settings of a round are chosen when it starts (press 1), and do not "
        "change while it runs."
    )
    BINDINGS: ClassVar[list[BindingType]] = [Binding("t", "theme", "Theme")]

    def compose_body(self) -> ComposeResult:
        with VerticalScroll():
            yield Plain("", id="values")

    def load(self, store: Store) -> Any:
        latest = store.latest_round()
        return latest.settings if latest else None

    def show(self, data: Any) -> None:
        settings = data or LAPTOP
        chosen = {
            "home": self.app_state.home.path,
            "model": self.app_state.model or "bundled",
            "theme": f"{self.app.theme} (t: next theme)",
        }
        lines = [*(f"{name:<10} {value}" for name, value in chosen.items()), ""]
        lines.append("settings of the latest round" if data else "settings of the preset laptop")
        for group in list_form(settings, LAPTOP):
            lines.append(f"  {group.about.label.lower()}")
            for row in group.fields:
                mark = f"   (laptop: {row.preset_text})" if row.is_changed else ""
                lines.append(f"    {row.field.name.partition('.')[2]:<28} {row.text}{mark}")
        self.query_one("#values", Plain).update("\n".join(lines))
        self.set_status("")

    def action_theme(self) -> None:
        at = THEMES.index(self.app.theme) if self.app.theme in THEMES else -1
        self.app.theme = THEMES[(at + 1) % len(THEMES)]
        self.action_reload()
