"""Show the home, the model, the theme and the settings of the round; change the theme."""

from __future__ import annotations

import dataclasses
from typing import Any

from textual.app import ComposeResult
from textual.containers import VerticalScroll

from conself_local.settings import LAPTOP, settings_to_json
from conself_local.store.store import Store
from tui.screens.base import BaseScreen
from tui.widgets.panel import Panel
from tui.widgets.plain import Plain


class SettingsScreen(BaseScreen):
    """The screen of settings, those of the latest round or, without one, of the preset `laptop`."""

    NAME = "settings"
    HELP = (
        "t changes the theme, light or dark. The settings of a round are chosen when it starts (press 1), and do not "
        "change while it runs."
    )

    def compose_body(self) -> ComposeResult:
        with Panel(heading="Settings", keys="t theme", id="list"), VerticalScroll():
            yield Plain("", id="values")

    def load(self, store: Store) -> Any:
        latest = store.latest_round()
        return latest.settings if latest else None

    def show(self, data: Any) -> None:
        settings = data or LAPTOP
        values, presets = settings_to_json(settings), settings_to_json(LAPTOP)
        chosen = {
            "home": self.app_state.home.path,
            "model": self.app_state.model or "bundled",
            "theme": f"{self.app.theme} (t: next theme)",
        }
        lines = [*(f"{name:<10} {value}" for name, value in chosen.items()), ""]
        lines.append("settings of the latest round" if data else "settings of the preset laptop")
        for field in dataclasses.fields(settings):
            mark = "" if values[field.name] == presets[field.name] else f"   (laptop: {presets[field.name]})"
            lines.append(f"  {field.name:<28} {values[field.name]}{mark}")
        self.query_one("#values", Plain).update("\n".join(lines))
        self.set_status("")
