"""Programs and observations are read from answers in the requested format, and extraction never fails."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conself_local.sampling.extract import block_is_closed, extract_program, parse_observations


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ("Here:\n```python\nx = 1\n```\nDone.", "x = 1\n"),
        ("```python\nx = 1\n```\n```python\ny = 2\n```", "x = 1\n"),
        ("```py\nx = 1", "x = 1\n"),
        ("```Python3 \nif x:\n    pass\n\n\n```", "if x:\n    pass\n"),
        ("```\nx = 1\n```", None),
        ("no code at all", None),
        ("```python\n   \n```", None),
        ("```python\nx = '```'\n```", "x = '```'\n"),
    ],
)
def test_the_first_python_block_is_the_program(answer: str, code: str | None) -> None:
    assert extract_program(answer) == code


def test_block_is_closed_only_by_a_fence_on_its_own_line() -> None:
    assert not block_is_closed("```python\nx = 1\n")
    assert not block_is_closed("```python\nx = '```'")
    assert block_is_closed("```python\nx = 1\n```")
    assert block_is_closed("```python\n```")


def test_observations_are_read_in_the_requested_format_and_never_as_code() -> None:
    text = "Observation 1:\nUse a loop.\n\n**Observation 2:** Mind zero.\nObservation 3:\n```python\nx = 1\n```\nTake care.\nObservation 4:\nMore."
    assert parse_observations(text, 3) == ["Use a loop.", "Mind zero.", "Take care."]
    assert parse_observations("Observation 1:\nOnly one.", 3) is None
    assert parse_observations("1. first\n2. second\n3. third", 3) is None


@given(st.text())
def test_extraction_never_fails(text: str) -> None:
    extract_program(text)
    parse_observations(text, 3)


def test_thoughts_are_no_part_of_the_program() -> None:
    thought = "<think>\nPerhaps\n```python\nx = 1\n```\n"
    assert extract_program(thought + "</think>\n```python\nx = 2\n```") == "x = 2\n"
    assert extract_program(thought) is None
