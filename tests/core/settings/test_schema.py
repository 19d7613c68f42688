"""Every setting is described completely, and its default values are allowed."""

from __future__ import annotations

import dataclasses

import jsonschema
import pytest

from conself_local.settings import (
    FIELDS,
    GROUPS,
    LAPTOP,
    PAPER,
    PRESETS,
    SettingField,
    find_conflicts,
    find_fields,
    get_value,
    get_values,
    nest,
    replace_values,
    verify_settings,
)
from conself_local.settings.describe import Range
from conself_local.settings.json_schema import settings_file_schema


def _sentences(text: str) -> bool:
    return text[0].isupper() and text.endswith(".") and "  " not in text


@pytest.mark.parametrize("field", FIELDS.values(), ids=FIELDS)
def test_every_setting_is_described_completely(field: SettingField) -> None:
    about = field.about
    assert about.label and about.label[0].isupper() and not about.label.endswith(".")
    for text in (about.meaning, about.time, about.reason):
        assert _sentences(text), text
    is_number = field.kind in (int, float)
    assert is_number == (about.allowed != Range()), "numbers have limits, and nothing else has"
    assert is_number or field.kind is bool or len(field.choices) > 1
    assert "|" not in about.meaning + about.reason + about.time, "it would break the table of the document"


def test_every_group_is_described_and_has_fields() -> None:
    stages = ["sampling", "execution", "augmentation", "selection", "pairs", "training", "evaluation"]
    assert list(GROUPS) == [*stages, "acceptance"]
    for name, about in GROUPS.items():
        assert about.label and _sentences(about.meaning)
        assert any(field.group == name for field in FIELDS.values())
        labels = [field.about.label for field in FIELDS.values() if field.group == name]
        assert len(set(labels)) == len(labels), "a form shows them side by side"


@pytest.mark.parametrize("preset", PRESETS)
def test_the_presets_are_allowed(preset: str) -> None:
    verify_settings(PRESETS[preset])
    assert PRESETS[preset].preset == preset and find_conflicts(PRESETS[preset]) == []
    jsonschema.validate(
        {"preset": preset}
        | nest({name: "none" if v is None else v for name, v in get_values(PRESETS[preset]).items()}),
        settings_file_schema(),
    )


def test_values_are_read_and_replaced_by_their_full_names() -> None:
    changed = replace_values(PAPER, {"training.beta": 0.5, "pairs.max_pairs": 7, "training.epochs": 9})
    assert (changed.training.beta, changed.pairs.max_pairs, changed.training.epochs) == (0.5, 7, 9)
    assert get_value(changed, "training.beta") == 0.5 and PAPER.training.beta == 0.1
    assert dataclasses.replace(replace_values(PAPER, get_values(LAPTOP)), preset="laptop") == LAPTOP
    with pytest.raises(KeyError):
        replace_values(PAPER, {"training.colour": 1})


def test_settings_are_found_by_words() -> None:
    assert [field.name for field in find_fields("learning rate highest")] == ["training.learning_rate"]
    assert find_fields("no such words") == [] and len(find_fields("")) == len(FIELDS)
