"""Define the settings of a round as one value with a group per stage, and list every field with its description.

Not covered: how a round uses the computer (`round/context.py`: slots, threads, weights format), and which model and
problems it uses.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin, get_type_hints

from conself_local.settings.describe import METADATA_KEY, Description, GroupDescription, group
from conself_local.settings.execution import AugmentationSettings, ExecutionSettings
from conself_local.settings.sampling import SamplingSettings
from conself_local.settings.selection import PairSettings, SelectionSettings
from conself_local.settings.training import AcceptanceSettings, EvaluationSettings, TrainingSettings

Preset = Literal["paper", "laptop"]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings of a round, which are stored with it; the defaults are those of `paper`."""

    preset: Preset = "paper"
    """Name of the preset that these settings started from."""
    sampling: SamplingSettings = group(SamplingSettings, label="Sampling", shapes_samples=True)
    execution: ExecutionSettings = group(ExecutionSettings, label="Execution", shapes_samples=True)
    augmentation: AugmentationSettings = group(AugmentationSettings, label="Augmentation", shapes_samples=True)
    selection: SelectionSettings = group(SelectionSettings, label="Selection", shapes_samples=False)
    pairs: PairSettings = group(PairSettings, label="Pairs", shapes_samples=False)
    training: TrainingSettings = group(TrainingSettings, label="Training", shapes_samples=False)
    evaluation: EvaluationSettings = group(EvaluationSettings, label="Evaluation", shapes_samples=True)
    acceptance: AcceptanceSettings = group(AcceptanceSettings, label="Acceptance", shapes_samples=False)


@dataclass(frozen=True, kw_only=True)
class SettingField:
    """One setting with its name, its type and its description."""

    name: str
    """The full name: group, dot, field."""
    group: str
    hint: Any
    """The type of its values, as the dataclass declares it."""
    about: Description

    @property
    def optional(self) -> bool:
        """Whether it can be off: None, which files and the command line write as `none`."""
        return type(None) in get_args(self.hint)

    @property
    def kind(self) -> type:
        """The type of its values if it is not off: bool, int, float, or str for a choice."""
        if self.choices:
            return str
        kinds = [kind for kind in get_args(self.hint) or (self.hint,) if kind is not type(None)]
        return kinds[0]

    @property
    def choices(self) -> tuple[str, ...]:
        """The words to choose from; empty for numbers and switches."""
        return get_args(self.hint) if get_origin(self.hint) is Literal else ()


def _list_fields() -> dict[str, SettingField]:
    fields = {}
    for name, kind in get_type_hints(Settings).items():
        if not dataclasses.is_dataclass(kind):
            continue
        hints = get_type_hints(kind)
        for field in dataclasses.fields(kind):
            full = f"{name}.{field.name}"
            fields[full] = SettingField(
                name=full, group=name, hint=hints[field.name], about=field.metadata[METADATA_KEY]
            )
    return fields


GROUPS: dict[str, GroupDescription] = {
    field.name: field.metadata[METADATA_KEY] for field in dataclasses.fields(Settings) if field.metadata
}
"""Every group in the order of the stages, with its description."""
FIELDS: dict[str, SettingField] = _list_fields()
"""Every setting by its full name, in the order of the stages."""


def get_value(settings: Settings, name: str) -> Any:
    """Return the value of a setting by its full name. Raises KeyError if there is no such setting."""
    field = FIELDS[name]
    return getattr(getattr(settings, field.group), name.partition(".")[2])


def get_values(settings: Settings) -> dict[str, Any]:
    """Return all settings, full name -> value."""
    return {name: get_value(settings, name) for name in FIELDS}


def replace_values(settings: Settings, values: Mapping[str, Any]) -> Settings:
    """Return the settings with other values, full name -> value, unchecked. Raises KeyError for an unknown name."""
    by_group: dict[str, dict[str, Any]] = {}
    for name, value in values.items():
        by_group.setdefault(FIELDS[name].group, {})[name.partition(".")[2]] = value
    groups = {name: dataclasses.replace(getattr(settings, name), **new) for name, new in by_group.items()}
    return dataclasses.replace(settings, **groups)
