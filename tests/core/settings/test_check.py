"""Values that are not allowed are refused in words that name the setting, and contradictions are found."""

from __future__ import annotations

from typing import Any

import pytest

from conself_local.settings import FIELDS, LAPTOP, PAPER, change_settings, change_text, find_conflicts, list_form


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"training": {"beta": "much"}}, "training.beta must be a number, at least 0, at most 10, not 'much'"),
        ({"training": {"learning_rate": float("nan")}}, "training.learning_rate must be a number, above 0, at most 1"),
        ({"training": {"learning_rate": float("inf")}}, "training.learning_rate must be"),
        ({"training": {"learning_rate": 10**400}}, "training.learning_rate must be"),
        ({"training": {"learning_rate": 0}}, "above 0"),
        ({"training": {"epochs": 1.5}}, "training.epochs must be a whole number"),
        ({"training": {"epochs": True}}, "training.epochs must be a whole number"),
        ({"training": {"epochs": 0}}, "at least 1"),
        ({"training": {"warmup_ratio": 1.0}}, "training.warmup_ratio must be a number, at least 0, below 1, not 1.0"),
        ({"selection": {"entropy_threshold": 1.1}}, "at most 1, or none, not 1.1"),
        ({"selection": {"max_crash_rate": "none"}}, "selection.max_crash_rate must be"),
        ({"selection": {"entropy_normalisation": "log"}}, "must be one of min-max, log2, not 'log'"),
        ({"sampling": {"answer_prefix": 1}}, "sampling.answer_prefix must be true or false"),
        ({"training": 3}, "training must be a table of settings"),
        ({"training": {"colour": 1}}, "unknown setting 'training.colour'"),
        ({"training": {"threshold": 1}}, "unknown setting 'training.threshold'"),
        ({"evaluation": {"beta": 1}}, "did you mean training.beta"),
        ({"trainin.beta": 1}, "did you mean training.beta"),
        ({"threshold": 0.3}, "it is called selection.entropy_threshold now"),
        ({"preset": "paper"}, "cannot be changed"),
        ({"training": {"beta": 0.1}, "training.beta": 0.2}, "training.beta is given twice"),
        ([], "must be a table"),
        ({"training": {"max_tokens": 300}}, "training.max_tokens must be at least sampling.max_new_tokens"),
        ({"sampling": {"thinking_tokens": 4096}}, r"plus sampling.thinking_tokens \(4480\), not 1024"),
        ({"training": {"sft_weight": 0}, "pairs": {"weight": "none"}}, "nothing would be learned"),
        ({"training": {"sft_weight": 0, "beta": 0}}, "nothing would be learned"),
    ],
)
def test_mistakes_are_named(values: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        change_settings(LAPTOP, values)


def test_what_is_allowed_is_taken_as_it_is() -> None:
    changed = change_settings(
        LAPTOP,
        {"training": {"sft_weight": 2, "max_displacement": "none"}, "selection.entropy_threshold": 1},
    )
    assert changed.training.sft_weight == 2 and type(changed.training.sft_weight) is int, "a hash would change"
    assert changed.training.max_displacement is None and changed.selection.entropy_threshold == 1


@pytest.mark.parametrize("name", FIELDS)
def test_every_value_of_the_presets_survives_a_form(name: str) -> None:
    for settings, other in ((PAPER, LAPTOP), (LAPTOP, PAPER)):
        (row,) = (row for group in list_form(settings, other) for row in group.fields if row.field.name == name)
        assert change_text(settings, name, row.text) == settings
        back = change_text(change_text(settings, name, row.preset_text), name, row.text)
        assert back == settings and row.is_changed == (row.text != row.preset_text)


def test_a_form_may_hold_a_contradiction_for_a_while() -> None:
    """A person changes one field after the other."""
    changed = change_text(LAPTOP, "sampling.max_new_tokens", "2048")
    assert [conflict.names[0] for conflict in find_conflicts(changed)] == ["training.max_tokens"]
    assert find_conflicts(change_text(changed, "training.max_tokens", " 4096 ")) == []
    with pytest.raises(ValueError, match=r"evaluation\.samples must be at least 5 if acceptance\.guard is true"):
        change_settings(LAPTOP, {"acceptance.guard": True, "evaluation.samples": 4})
    assert change_settings(LAPTOP, {"acceptance.guard": True, "evaluation.samples": 5}).acceptance.guard
    with pytest.raises(ValueError, match=r"training\.max_tokens must be a whole number.*not '4k'"):
        change_text(changed, "training.max_tokens", "4k")


@pytest.mark.parametrize("text", ["", "9" * 5000, "0x10", "1_000", "nan", "1e999", "\x1b[2J", "none"])
def test_hostile_texts_are_refused(text: str) -> None:
    for name in ("training.epochs", "training.learning_rate", "pairs.rejected", "pairs.distinct_code"):
        with pytest.raises(ValueError, match=name) as caught:
            change_text(LAPTOP, name, text)
        assert len(str(caught.value)) < 300
