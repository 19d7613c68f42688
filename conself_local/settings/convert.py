"""Read and write settings as plain values: JSON of the store and of results, tables of TOML files.

Two forms are read: groups, `{"training": {"beta": 0.1}}`, and full names, `{"training.beta": 0.1}`. The flat names of
earlier versions are read by `old_names.py`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, get_args

from conself_local.settings.check import verify_settings, verify_type, verify_value
from conself_local.settings.old_names import OLD_NAMES, rename_old
from conself_local.settings.presets import PAPER
from conself_local.settings.schema import FIELDS, GROUPS, Preset, Settings, replace_values
from conself_local.settings.text import NONE

_HINT = "`conself settings` lists all of them"


def settings_to_json(settings: Settings) -> dict[str, Any]:
    """Return the settings as a dict of JSON values: the preset, and a dict per group."""
    return dataclasses.asdict(settings)


def settings_from_json(values: Any) -> Settings:
    """Return the settings that `settings_to_json` of this version or of an earlier one wrote.

    A missing setting gets its default, that of `paper`. Ranges are not checked: a round that an earlier version began
    with an odd value stays readable. Raises ValueError that names a setting which this version does not know, or whose
    value is of the wrong type.
    """
    named = flatten(values, old_names=True)
    preset = named.pop("preset", PAPER.preset)
    if preset not in get_args(Preset):
        raise ValueError(f"preset must be one of {', '.join(get_args(Preset))}, not {str(preset)[:100]!r}")
    for name, value in named.items():
        verify_type(name, value)
    return dataclasses.replace(replace_values(PAPER, named), preset=preset)


def change_settings(settings: Settings, values: Any, *, old_names: bool = False) -> Settings:
    """Return `settings` with other values for some of them, in either form.

    Raises ValueError that names an unknown setting, one whose value is not allowed, or two that contradict each other.
    """
    named = flatten(values, old_names=old_names)
    if "preset" in named:
        raise ValueError("unknown setting 'preset'; it cannot be changed like a setting")
    for name, value in named.items():
        verify_value(name, value)
    changed = replace_values(settings, named)
    verify_settings(changed)
    return changed


def flatten(values: Any, *, old_names: bool = False) -> dict[str, Any]:
    """Return the values by full name, and `preset` if it is among them; `none` for a setting that can be off is None.

    Types are not checked. Raises ValueError that names an unknown setting, or one that is given twice.
    """
    if not isinstance(values, dict):
        raise ValueError("settings must be a table of names and values")
    if old_names:
        values = rename_old(values)
    named: dict[str, Any] = {}
    for name, value in values.items():
        if name in GROUPS and not isinstance(value, dict):
            raise ValueError(f"{name} must be a table of settings; {_HINT}")
        below = {f"{name}.{key}": one for key, one in value.items()} if name in GROUPS else {name: value}
        for full, one in below.items():
            if full not in FIELDS and full != "preset":
                raise ValueError(f"unknown setting {full[:100]!r}; {_suggest(full)}")
            if full in named:
                raise ValueError(f"{full} is given twice")
            named[full] = None if one == NONE and full in FIELDS and FIELDS[full].optional else one
    return named


def nest(named: Mapping[str, Any]) -> dict[str, Any]:
    """Return values by full name as a dict per group, in the order of the stages."""
    nested: dict[str, Any] = {}
    for name, field in FIELDS.items():
        if name in named:
            nested.setdefault(field.group, {})[name.partition(".")[2]] = named[name]
    return nested


def _suggest(name: str) -> str:
    """Return what the user may have meant by an unknown name."""
    if name in OLD_NAMES:
        return f"it is called {OLD_NAMES[name]} now"
    same_field = [full for full in FIELDS if full.partition(".")[2] == name.rpartition(".")[2]]
    if near := same_field or get_close_matches(name[:100], FIELDS, n=1):
        return f"did you mean {' or '.join(near)}?"
    return _HINT
