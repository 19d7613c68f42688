"""Describe the TOML file of an experiment as a JSON schema, for editors that check it while one types.

The settings in it come from their own descriptions. Not covered: what the schema cannot say, such as that the names of
arms differ (`spec.py`).
"""

from __future__ import annotations

from typing import Any

from conself_local.round.start import BENCHMARKS
from conself_local.settings.json_schema import DRAFT, groups_schema, preset_schema
from conself_local.stages.seeds import MAX_SEED

_NAME = {"type": "string", "minLength": 1, "maxLength": 100, "pattern": "^[^.]"}
_SEED = {"type": "integer", "minimum": 0, "maximum": MAX_SEED}


def experiment_schema() -> dict[str, Any]:
    """Return the schema of a file for `conself experiment FILE`."""
    settings = {"$ref": "#/$defs/settings"}
    arm = {
        "type": "object",
        "additionalProperties": False,
        "required": ["name"],
        "properties": {
            "name": _NAME | {"description": "Name of the arm, and of its folder."},
            "preset": preset_schema(),
            "settings": settings,
            "rounds": {"type": "integer", "minimum": 1, "description": "Rounds, one after another (default: 1)."},
            "pairs": {"type": "string", "description": "File of pairs to train on instead of those of the round."},
        },
    }
    return {
        "$schema": DRAFT,
        "title": "An experiment of conself-local",
        "type": "object",
        "additionalProperties": False,
        "required": ["arm"],
        "properties": {
            "name": _NAME | {"description": "Name of the experiment (default: that of the file)."},
            "model": {"type": "string", "description": "GGUF file of the model (default: the bundled model)."},
            "problems": {"type": "string", "description": "Problems file (default: the starter pack)."},
            "limit": {"type": "integer", "minimum": 1, "description": "Largest number of training problems."},
            "benchmarks": {"type": "array", "minItems": 1, "items": {"enum": list(BENCHMARKS)}},
            "weights": {
                "type": "object",
                "propertyNames": {"enum": list(BENCHMARKS)},
                "additionalProperties": {"type": "number", "exclusiveMinimum": 0},
                "description": "Weight of each benchmark if they are combined (default: equal per problem).",
            },
            "seeds": {"type": "array", "minItems": 1, "items": _SEED},
            "settings": settings,
            "arm": {"type": "array", "minItems": 1, "items": arm},
        },
        "$defs": {"settings": groups_schema() | {"description": "Settings that differ from the preset."}},
    }
