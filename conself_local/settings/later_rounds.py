"""Say with which settings a round begins that pools the votes of earlier rounds.

Not covered: which samples of earlier rounds vote (`store/pooling.py`).
"""

from __future__ import annotations

from conself_local.settings.schema import Settings, replace_values


def settings_of_later_round(settings: Settings) -> Settings:
    """Return the settings of a round in whose home earlier rounds vote; they differ if `pairs.later_programs` is set.

    They differ only if votes are pooled. Example: 5 programs per observation and 2 of later rounds -> 2; without
    `pairs.pool_rounds` -> 5.
    """
    later = settings.pairs.later_programs
    if not settings.pairs.pool_rounds or later is None:
        return settings
    return replace_values(settings, {"sampling.programs_per_observation": later})
