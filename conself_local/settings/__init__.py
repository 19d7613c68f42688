"""Every setting of a round, described once: stages, presets, checks, files, forms and documents read it here.

`schema.py` lists the settings by stage; each stage's file describes its own. Not covered: how a round uses the computer
(`round/context.py`), and presets that the user keeps in a home (`round/presets.py`).
"""

from conself_local.settings.check import Conflict, describe_allowed, find_conflicts, fits, verify_settings, verify_value
from conself_local.settings.convert import change_settings, flatten, nest, settings_from_json, settings_to_json
from conself_local.settings.execution import AugmentationSettings, ExecutionSettings
from conself_local.settings.form import FormField, FormGroup, change_text, find_fields, list_form
from conself_local.settings.later_rounds import settings_of_later_round
from conself_local.settings.presets import (
    DEFAULT_PRESET,
    LAPTOP,
    PAPER,
    PRESETS,
    Difference,
    describe_settings,
    find_differences,
)
from conself_local.settings.sampling import Prompt, SamplingSettings
from conself_local.settings.schema import (
    FIELDS,
    GROUPS,
    Preset,
    SettingField,
    Settings,
    get_value,
    get_values,
    replace_values,
)
from conself_local.settings.selection import Pairing, PairSettings, PairWeight, SelectionSettings
from conself_local.settings.sharing import SHARED_NAMES, shared_values
from conself_local.settings.text import format_value, parse_value
from conself_local.settings.training import EvaluationSettings, TrainingSettings

__all__ = [
    "DEFAULT_PRESET",
    "FIELDS",
    "GROUPS",
    "LAPTOP",
    "PAPER",
    "PRESETS",
    "SHARED_NAMES",
    "AugmentationSettings",
    "Conflict",
    "Difference",
    "EvaluationSettings",
    "ExecutionSettings",
    "FormField",
    "FormGroup",
    "PairSettings",
    "PairWeight",
    "Pairing",
    "Preset",
    "Prompt",
    "SamplingSettings",
    "SelectionSettings",
    "SettingField",
    "Settings",
    "TrainingSettings",
    "change_settings",
    "change_text",
    "describe_allowed",
    "describe_settings",
    "find_conflicts",
    "find_differences",
    "find_fields",
    "fits",
    "flatten",
    "format_value",
    "get_value",
    "get_values",
    "list_form",
    "nest",
    "parse_value",
    "replace_values",
    "settings_from_json",
    "settings_of_later_round",
    "settings_to_json",
    "shared_values",
    "verify_settings",
    "verify_value",
]
