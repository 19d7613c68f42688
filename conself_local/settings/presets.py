"""Define the two presets of this program.

`paper` reproduces the choices of arXiv 2603.29292 and its artifact to the letter, and a test holds it there.
`laptop`, the default, differs from it for small models on small machines; the `reason` of each setting says why.

Not covered: presets that the user keeps in a home (`round/presets.py`).
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from conself_local.settings.schema import FIELDS, Settings, get_value, replace_values

PAPER = Settings()

LAPTOP = dataclasses.replace(
    replace_values(
        PAPER,
        {
            "sampling.observation_max_new_tokens": 256,
            "sampling.max_observation_attempts": 2,
            "sampling.max_new_tokens": 384,
            "sampling.answer_prefix": True,
            "sampling.stop_at_fence": True,
            "sampling.stop_at_repetition": True,
            "execution.max_timeouts": 2,
            "execution.exact_behaviour": False,
            "execution.keep_nondeterministic": False,
            "augmentation.max_inputs": 8,
            "selection.entropy_normalisation": "log2",
            "selection.entropy_threshold": None,
            "pairs.rejected": "like-length",
            "pairs.distinct_code": True,
            "pairs.min_cluster_share": 0.4,
            "pairs.allow_constant_chosen": False,
            "training.beta": 0.02,
            "training.learning_rate": 1e-4,
            "training.epochs": 2,
            "training.max_tokens": 1024,
            "training.sft_weight": 1.0,
            "training.max_displacement": 1.0,
            "training.strength": 0.25,
            "evaluation.max_new_tokens": 256,
        },
    ),
    preset="laptop",
)

PRESETS: dict[str, Settings] = {"paper": PAPER, "laptop": LAPTOP}
DEFAULT_PRESET = "laptop"


@dataclass(frozen=True)
class Difference:
    """A setting that differs from the preset that the settings started from."""

    name: str
    value: Any
    preset_value: Any


def find_differences(settings: Settings, base: Settings | None = None) -> list[Difference]:
    """Return the settings that differ from those of `base`, or else of the preset that they started from."""
    base = base or PRESETS[settings.preset]
    pairs = ((name, get_value(settings, name), get_value(base, name)) for name in FIELDS)
    return [Difference(*one) for one in pairs if one[1] != one[2]]


def describe_settings(settings: Settings) -> str:
    """Return the preset and the number of changes in words: `preset laptop, 2 settings changed`."""
    count = len(find_differences(settings))
    return f"preset {settings.preset}" + (f", {count} setting{'s' if count > 1 else ''} changed" if count else "")
