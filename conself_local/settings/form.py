"""Give a form what it shows and checks: groups, fields with their texts, and what differs from the preset.

Not covered: drawing; the screens do that.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from conself_local.settings.check import describe_allowed, verify_value
from conself_local.settings.describe import GroupDescription
from conself_local.settings.presets import PRESETS
from conself_local.settings.schema import (
    FIELDS,
    GROUPS,
    SettingField,
    Settings,
    get_value,
    replace_values,
)
from conself_local.settings.text import format_value, parse_value


@dataclass(frozen=True, kw_only=True)
class FormField:
    """One field of a form."""

    field: SettingField
    text: str
    """The value as text; `change_text` reads it."""
    preset_text: str
    """The value of the preset."""

    @property
    def is_changed(self) -> bool:
        """Whether the value differs from the preset's."""
        return self.text != self.preset_text


@dataclass(frozen=True, kw_only=True)
class FormGroup:
    """One group of a form, in the order of the stages."""

    name: str
    about: GroupDescription
    fields: tuple[FormField, ...]


def list_form(settings: Settings, base: Settings | None = None) -> list[FormGroup]:
    """Return the groups of a form over `settings`; `base` is the preset, by default that which they started from."""
    base = base or PRESETS[settings.preset]
    rows = [
        FormField(
            field=field,
            text=format_value(get_value(settings, name)),
            preset_text=format_value(get_value(base, name)),
        )
        for name, field in FIELDS.items()
    ]
    return [
        FormGroup(name=name, about=about, fields=tuple(row for row in rows if row.field.group == name))
        for name, about in GROUPS.items()
    ]


def change_text(settings: Settings, name: str, text: str) -> Settings:
    """Return the settings with the value that `text` stands for.

    Settings that contradict each other are not refused, because a person changes one after the other:
    `check.find_conflicts` lists them. Raises ValueError that names the setting and says what is allowed, and KeyError
    if there is no such setting.
    """
    value = parse_value(FIELDS[name], text)
    verify_value(name, value)
    return replace_values(settings, {name: value})


def find_fields(words: str) -> list[SettingField]:
    """Return the settings whose name, label or meaning holds every one of the words, in the order of the stages."""
    wanted = words.lower().split()
    return [
        field
        for name, field in FIELDS.items()
        if all(word in f"{name} {field.about.label} {field.about.meaning}".lower() for word in wanted)
    ]


def describe_field(field: SettingField, settings: Settings, presets: Mapping[str, Settings]) -> dict[str, Any]:
    """Return all that is known of a setting as JSON values: its description, its value, and those of the presets."""
    about, limits = field.about, dataclasses.asdict(field.about.allowed)
    return {
        "name": field.name,
        "group": field.group,
        "label": about.label,
        "meaning": about.meaning,
        "unit": about.unit,
        "type": "choice" if field.choices else field.kind.__name__,
        "can_be_none": field.optional,
        "choices": list(field.choices),
        "range": {name: limit for name, limit in limits.items() if limit is not None},
        "allowed": describe_allowed(field),
        "time": about.time,
        "reason": about.reason,
        "shapes_samples": GROUPS[field.group].shapes_samples,
        "value": get_value(settings, field.name),
        "presets": {name: get_value(preset, field.name) for name, preset in presets.items()},
        "changed": get_value(settings, field.name) != get_value(PRESETS[settings.preset], field.name),
    }
