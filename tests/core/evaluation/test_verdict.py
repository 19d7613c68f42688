"""Each verdict has its conditions: sharpening alone is never called better, and lost reach is not either."""

from __future__ import annotations

import pytest

from conself_local.evaluation.verdict import Change, Changes

UP, DOWN, FLAT = Change(0.04, 0.01, 0.07), Change(-0.04, -0.07, -0.01), Change(0.0, -0.01, 0.01)
LOST = Change(-0.01, -0.03, 0.01)
"""A reach that may have fallen by more than 2 points."""


@pytest.mark.parametrize(
    ("greedy", "sampled", "reach", "ranking", "word"),
    [
        (UP, UP, FLAT, None, "better"),
        (UP, FLAT, FLAT, FLAT, "better"),
        (FLAT, UP, FLAT, UP, "better"),
        (FLAT, FLAT, FLAT, UP, "better"),
        (UP, UP, Change(0.0, -0.02, 0.02), None, "better"),
        (UP, UP, LOST, UP, "surer"),
        (FLAT, UP, FLAT, FLAT, "surer"),
        (FLAT, UP, UP, None, "surer"),
        (DOWN, UP, FLAT, None, "surer"),
        (FLAT, FLAT, FLAT, None, "no measurable change"),
        (FLAT, FLAT, LOST, FLAT, "no measurable change"),
        (FLAT, FLAT, UP, None, "no measurable change"),
        (DOWN, FLAT, FLAT, None, "worse"),
        (DOWN, FLAT, FLAT, UP, "worse"),
        (UP, FLAT, FLAT, DOWN, "worse"),
        (UP, UP, FLAT, DOWN, "surer"),
        (FLAT, DOWN, FLAT, None, "worse"),
        (FLAT, FLAT, DOWN, None, "worse"),
        (FLAT, FLAT, FLAT, DOWN, "worse"),
    ],
)
def test_words(greedy: Change, sampled: Change, reach: Change, ranking: Change | None, word: str) -> None:
    changes = Changes(greedy=greedy, sampled=sampled, reach=reach, k=10, ranking=ranking)
    assert changes.word == word and changes.sentence().startswith(word)


def test_the_sentence_says_why_and_what_was_measured() -> None:
    changes = Changes(greedy=UP, sampled=UP, reach=LOST, k=5)
    assert changes.sentence() == (
        "surer, because pass@5 may fall by more than 2 points (points, 95 % interval): greedy +4.0 (+1.0 to +7.0), "
        "pass@1 +4.0 (+1.0 to +7.0), pass@5, the largest k sampled, -1.0 (-3.0 to +1.0)"
    )
    ranked = Changes(greedy=FLAT, sampled=UP, reach=FLAT, k=10, ranking=FLAT).sentence()
    assert "because neither greedy nor A rises" in ranked and ranked.endswith("A +0.0 (-1.0 to +1.0)")
    for greedy, ranking, why in ((UP, DOWN, "greedy rises but A falls"), (DOWN, UP, "A rises but greedy falls")):
        against = Changes(greedy=greedy, sampled=UP, reach=FLAT, k=10, ranking=ranking).sentence()
        assert against.startswith(f"surer, because {why} (")
    assert Changes(greedy=UP, sampled=UP, reach=UP, k=0).sentence() == (
        "surer, because nothing was sampled that would show whether reach is lost (points, 95 % interval): "
        "greedy +4.0 (+1.0 to +7.0)"
    )
    greedy_only = Changes(greedy=UP, sampled=UP, reach=UP, k=1).sentence()
    assert greedy_only.startswith("better (") and greedy_only.count("pass@") == 1
