"""Describe files of settings as a JSON schema (draft 2020-12), for editors that check TOML while one types.

Not covered: settings that contradict each other (`check.py`), and experiments around the settings
(`experiment/json_schema.py`).
"""

from __future__ import annotations

from typing import Any

from conself_local.settings.presets import DEFAULT_PRESET, LAPTOP, PAPER, PRESETS
from conself_local.settings.schema import FIELDS, GROUPS, SettingField, get_value
from conself_local.settings.text import NONE, format_value

DRAFT = "https://json-schema.org/draft/2020-12/schema"
_TYPES = {bool: "boolean", int: "integer", float: "number", str: "string"}
_LIMITS = {"at_least": "minimum", "above": "exclusiveMinimum", "at_most": "maximum", "below": "exclusiveMaximum"}


def preset_schema() -> dict[str, Any]:
    """Return the schema of the name of a preset of this program."""
    return {
        "type": "string",
        "enum": list(PRESETS),
        "description": f"Preset that the settings start from (default: {DEFAULT_PRESET}).",
    }


def groups_schema() -> dict[str, Any]:
    """Return the schema of a table of settings: one table per group, nothing else."""
    return {"type": "object", "additionalProperties": False, "properties": _properties()}


def settings_file_schema() -> dict[str, Any]:
    """Return the schema of a file for `conself run --settings FILE`."""
    properties = {"preset": preset_schema()} | _properties()
    return {
        "$schema": DRAFT,
        "title": "Settings of a round of conself-local",
        "type": "object",
        "additionalProperties": False,
        "properties": properties,
    }


def _properties() -> dict[str, Any]:
    return {
        group: {
            "type": "object",
            "description": about.meaning,
            "additionalProperties": False,
            "properties": {
                field.name.partition(".")[2]: _field(field) for field in FIELDS.values() if field.group == group
            },
        }
        for group, about in GROUPS.items()
    }


def _field(field: SettingField) -> dict[str, Any]:
    about = field.about
    paper, laptop = (format_value(get_value(preset, field.name)) for preset in (PAPER, LAPTOP))
    unit = f" Unit: {about.unit}." if about.unit else ""
    description = f"{about.meaning}{unit} paper: {paper}; laptop: {laptop}. {about.reason}"
    allowed: dict[str, Any] = {"type": _TYPES[field.kind]}
    if field.choices:
        allowed["enum"] = list(field.choices)
    for name, keyword in _LIMITS.items():
        limit = getattr(about.allowed, name)
        if limit is not None:
            allowed[keyword] = limit
    described = {"title": about.label, "description": description}
    return described | ({"anyOf": [allowed, {"const": NONE}]} if field.optional else allowed)
