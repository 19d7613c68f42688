"""Name what two arms of an experiment must have in common to share samples.

Source: `shapes_samples` of each group of settings.
"""

from __future__ import annotations

from typing import Any

from conself_local.settings.old_names import hashed_name
from conself_local.settings.presets import PAPER
from conself_local.settings.schema import FIELDS, GROUPS, Settings, get_value

SHARED_NAMES = tuple(name for name, field in FIELDS.items() if GROUPS[field.group].shapes_samples)
"""Arms that agree in these settings have the same programs, behaviours, added inputs and answers before training."""


def shared_values(settings: Settings) -> dict[str, Any]:
    """Return the values that a hash of shared samples covers, by the names that they have in hashes.

    Both stay the same from version to version, so that samples of an unfinished experiment are found again: a setting
    keeps the name that it had in the first version, and one that is newer is listed only if it is not at its default.
    """
    values = {}
    for name in SHARED_NAMES:
        value, hashed = get_value(settings, name), hashed_name(name)
        if hashed != name or value != get_value(PAPER, name):
            values[hashed] = value
    return values
