"""The choice of the prompt cuts, counts and ranks as it says; nothing is sampled here."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.benchmarks.prompt_choice import (
    Answer,
    Judged,
    Result,
    best_line,
    best_of,
    cut_answer,
    percent,
    summarise,
    wanted_answers,
)


def _letters(ids: Sequence[int]) -> str:
    return "".join(chr(97 + id) for id in ids)


def test_an_answer_that_ends_before_the_cap_is_the_same_under_it() -> None:
    answer = Answer("p", 0.2, "abc", (0, 1, 2), "fence")
    assert cut_answer(answer, 3, _letters) is answer
    assert cut_answer(answer, 2, _letters) == Answer("p", 0.2, "ab", (0, 1), "length")


def test_each_temperature_above_zero_gets_all_samples() -> None:
    assert wanted_answers(2) == [(0.0, 0), (0.2, 0), (0.2, 1), (0.6, 0), (0.6, 1)]
    assert [percent(t) for t in (0.0, 0.2, 0.6)] == [0, 20, 60]


def test_worked_numbers_of_a_row() -> None:
    judged = [
        Judged("p", True, True, False, 10),
        Judged("p", False, True, False, 20),
        Judged("q", False, False, True, 60),
    ]
    result = summarise(judged, ("plain", True, 256, 0.2))
    assert result.pass_at_1 == 0.25 and result.standard_error == pytest.approx(0.25)
    assert [result.parsed, result.cut, result.mean_tokens] == pytest.approx([2 / 3, 1 / 3, 30])
    assert result.line() == "| plain | yes | 256 | 0.2 | 0.250 | 0.250 | 0.667 | 0.333 | 30 |"


def test_the_shortest_of_the_ways_within_one_problem_of_the_best_wins() -> None:
    def result(pass_at_1: float, tokens: float, cap: int, temperature: float = 0.0) -> Result:
        return Result(pass_at_1, tokens, 0.1, 1.0, 0.0, ("completion", False, cap, temperature))

    results = [
        result(0.4, 90, 512),
        result(0.3, 80, 512),
        result(0.3, 80, 256),
        result(0.2, 10, 256),
        result(0.9, 5, 256, temperature=0.2),
    ]
    best = best_of(results, problems=10)
    assert best is results[2] and best_line(best) == (
        'prompt = "completion", answer_prefix = false, evaluation_max_new_tokens = 256; temperature 0: pass@1 0.300'
    )
    assert best_of(results, problems=100) is results[0]
