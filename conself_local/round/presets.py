"""Choose the settings of a new round: a preset of this program or of the home, a file, and single settings.

Presets of the home are TOML files in its folder `presets`, in the form of `--settings FILE`: what they start from, and
what differs from it. Not covered: the settings themselves (`settings/`), and what a round does with them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from conself_local.errors import ConselfError
from conself_local.foreign_files import refusing
from conself_local.home import PRESET_NAME, Home
from conself_local.new_files import new_private_file
from conself_local.problems.toml_file import read_toml
from conself_local.settings import (
    DEFAULT_PRESET,
    FIELDS,
    PRESETS,
    Settings,
    change_settings,
    find_differences,
    flatten,
    format_value,
    nest,
    parse_value,
    verify_value,
)

_HINT = "`conself settings` shows every setting with what is allowed"


@dataclass(frozen=True)
class SettingsChoice:
    """What the user chose: where the settings start from, and what differs."""

    preset: str | None = None
    """A preset of this program; None: not chosen."""
    changes: dict[str, Any] = field(default_factory=dict)
    """Full name -> value, each checked alone."""

    @property
    def start(self) -> Settings:
        """The settings that the changes start from."""
        return PRESETS[self.preset or DEFAULT_PRESET]

    def settings(self) -> Settings:
        """Return the chosen settings. Raises ConselfError if some of them contradict each other."""
        with refusing("these settings cannot be used together", _HINT):
            return change_settings(self.start, self.changes)


def choose_settings(
    home: Home, *, preset: str | None = None, file: Path | None = None, texts: Sequence[str] = ()
) -> SettingsChoice:
    """Return the choice: the preset, changed by the file, changed by the texts `NAME=VALUE` in their order.

    A preset that the file names counts only if `preset` is None. Raises ConselfError that says what is wrong.
    """
    chosen = find_preset(home, preset) if preset is not None else SettingsChoice()
    if file is not None:
        given = read_settings_file(file)
        chosen = SettingsChoice(chosen.preset or given.preset, chosen.changes | given.changes)
    return SettingsChoice(chosen.preset, chosen.changes | dict(map(_parse_change, texts)))


def _parse_change(text: str) -> tuple[str, Any]:
    """Return (full name, value) of a text `NAME=VALUE`. Raises ConselfError."""
    name, equals, value = (part.strip() for part in text.partition("="))
    with refusing(f"--set {text[:100]}", _HINT):
        if not equals:
            raise ValueError("write it as NAME=VALUE, for example training.learning_rate=5e-5")
        flatten({name: None})  # raises for an unknown name
        if name not in FIELDS:
            raise ValueError("choose a preset with --preset")
        parsed = parse_value(FIELDS[name], value)
        verify_value(name, parsed)
        return name, parsed


def read_settings_file(path: Path) -> SettingsChoice:
    """Return the choice in a TOML file. Raises ConselfError that names the setting at fault."""
    _, values = read_toml(path, _HINT)
    with refusing(str(path), _HINT):
        changes = flatten(values)
        preset = changes.pop("preset", None)
        if preset is not None and preset not in PRESETS:
            raise ValueError(f"preset must be one of {', '.join(PRESETS)}, not {str(preset)[:100]!r}")
        for name, value in changes.items():
            verify_value(name, value)
        return SettingsChoice(preset, changes)


def find_preset(home: Home, name: str) -> SettingsChoice:
    """Return the preset of this name, of this program or of the home. Raises ConselfError if there is none."""
    if name in PRESETS:
        return SettingsChoice(name)
    if name not in list_presets(home):
        known = ", ".join((*PRESETS, *list_presets(home)))
        raise ConselfError(f"there is no preset {name[:100]!r}", f"choose from {known}")
    found = read_settings_file(_path(home, name))
    return SettingsChoice(found.preset or DEFAULT_PRESET, found.changes)


def list_presets(home: Home) -> list[str]:
    """Return the names of the home's presets, sorted."""
    return list(home.preset_files())


def save_preset(home: Home, name: str, settings: Settings) -> Path:
    """Keep the settings as a preset of the home: what they started from, and what differs. Return its file.

    Raises ConselfError if the name cannot be used or is taken, or if the settings contradict each other.
    """
    _verify_name(name)
    if name in list_presets(home):
        raise ConselfError(
            f"there is a preset {name} already", f"choose another name, or run `conself settings --delete {name}` first"
        )
    SettingsChoice(settings.preset, {one.name: one.value for one in find_differences(settings)}).settings()
    with refusing(f"the preset {name} cannot be kept", "free some space on the disk"), new_private_file(
        _path(home, name)
    ) as part:  # fmt: skip
        part.write_text(settings_to_toml(settings), encoding="utf-8")
    return _path(home, name)


def delete_preset(home: Home, name: str) -> None:
    """Remove a preset of the home. Raises ConselfError if it is one of this program, or if there is none."""
    _verify_name(name)
    if name not in list_presets(home):
        raise ConselfError(f"this home has no preset {name}", "`conself settings --list` shows those it has")
    _path(home, name).unlink()


def _verify_name(name: str) -> None:
    if name in PRESETS:
        raise ConselfError(f"the preset {name} belongs to this program and stays as it is", "choose another name")
    if not PRESET_NAME.fullmatch(name):
        raise ConselfError(
            f"{name[:100]!r} cannot be the name of a preset",
            "use 1 to 40 lower-case letters, digits, - and _, and begin with a letter or a digit",
        )


def _path(home: Home, name: str) -> Path:
    return home.presets / f"{name}.toml"


def settings_to_toml(settings: Settings) -> str:
    """Return the text of a file for `--settings`: the preset that the settings started from, and what differs."""
    lines = [f"preset = {json.dumps(settings.preset)}"]
    for group, values in nest({one.name: one.value for one in find_differences(settings)}).items():
        lines += ["", f"[{group}]", *(f"{name} = {_toml_value(value)}" for name, value in values.items())]
    return "\n".join(lines) + "\n"


def _toml_value(value: Any) -> str:
    """Return a value as TOML: numbers and switches as they are, words (and `none`) in quotes."""
    return json.dumps(format_value(value)) if value is None or isinstance(value, str) else format_value(value)
