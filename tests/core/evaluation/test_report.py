"""The report of an evaluation: the gap to consensus, reach, cut answers, and results of the first version."""

from __future__ import annotations

import json
from typing import Any

import pytest

from conself_local.evaluation.compare import ArmSamples, compare, first_version, gap_closed, reach_scores
from conself_local.evaluation.report import result_lines

PROBLEMS = [f"p{i:03}" for i in range(200)]


def _arm(greedy: int, consensus: int, samples: list[int], cut: int = 0) -> ArmSamples:
    """Return an arm with this many right greedy and consensus answers; `samples`: right ones of 4 per problem."""
    answers = len(PROBLEMS) * 5
    return ArmSamples(
        sampled={p: [i < n for i in range(4)] for p, n in zip(PROBLEMS, samples, strict=True)},
        greedy={p: i < greedy for i, p in enumerate(PROBLEMS)},
        parsed=[True] * answers,
        crashed=[False] * answers,
        tokens=[60] * answers,
        cut=[i < cut for i in range(answers)],
        consensus={p: i < consensus for i, p in enumerate(PROBLEMS)},
    )


BASE = _arm(60, 80, [1] * 100 + [0] * 100, cut=50)
ADAPTER = _arm(68, 84, [2] * 100 + [0] * 100)


def test_the_share_of_the_gap_that_was_closed() -> None:
    # (0.34 - 0.30) / (0.40 - 0.30)
    assert gap_closed(BASE, ADAPTER, seed=0) == {"share": pytest.approx(0.4)}
    assert gap_closed(BASE, _arm(56, 80, [0] * 200), seed=0) == {"share": pytest.approx(-0.2)}
    for no_gap in (_arm(60, 61, [0] * 200), _arm(80, 60, [0] * 200)):
        assert "not clearly above" in gap_closed(no_gap, ADAPTER, seed=0)["reason"]
    nothing = ArmSamples(sampled={"p": []}, greedy={"p": True}, parsed=[True], crashed=[False], tokens=[1])
    assert "nothing was sampled" in gap_closed(nothing, nothing, seed=0)["reason"]


def test_reach_is_computed_at_the_largest_k() -> None:
    assert reach_scores([0.4, 0.0], 5, 2) == pytest.approx([0.7, 0.0]) and reach_scores([1.0], 0, 3) == [1.0]
    result = compare({"base": BASE, "adapter": ADAPTER}, seed=1)
    # pass@4 of 4 samples: 100 of 200 problems have a right one, before and after
    assert result["reach"] == {"k": 4, "difference": 0.0, "interval_95": [0.0, 0.0]}
    assert result["base"]["pass_at"] == {
        "1": pytest.approx(0.125), "2": pytest.approx(0.25), "3": pytest.approx(0.375), "4": pytest.approx(0.5),
    }  # fmt: skip
    assert result["base"]["cut_share"] == pytest.approx(0.05) and result["adapter"]["cut_share"] == 0.0
    assert result["consensus_samples"] == 4 and result["adapter"]["consensus"] == pytest.approx(0.42)
    assert result["word"] == "better" and result["verdict"].startswith("better (points, 95 % interval): greedy +4.0 (")
    assert json.loads(json.dumps(result)) == result


def test_greedy_answers_alone_are_a_result_too() -> None:
    def arm(right: bool) -> ArmSamples:
        return ArmSamples(
            sampled={p: [] for p in PROBLEMS},
            greedy=dict.fromkeys(PROBLEMS, right),
            parsed=[True],
            crashed=[False],
            tokens=[1],
            cut=[False],
        )

    result = compare({"base": arm(False), "adapter": arm(True)}, seed=0)
    assert result["reach"]["k"] == 0 and result["word"] == "surer" and result["base"]["consensus"] is None
    assert "nothing was sampled that would show whether reach is lost" in result["verdict"]
    assert "pass@" not in result["verdict"]
    assert any("nothing was sampled" in line for line in result_lines("b", result))


def test_the_lines_show_every_figure_and_fit_the_screen() -> None:
    ranking = {
        "base": 0.5, "adapter": 0.625, "difference": 0.125, "interval_95": [0.01, 0.2], "programs": 30, "problems": 5,
    }  # fmt: skip
    lines = result_lines("held-out", compare({"base": BASE, "adapter": ADAPTER}, seed=1, ranking=ranking))
    text = "\n".join(lines)
    assert "consensus@4" in lines[1] and lines[2].split()[:4] == ["base", "0.300", "0.125", "0.400"]
    assert lines[2].split()[-1] == "0.050" and lines[4].split() == ["pass@k", "1", "2", "3", "4"]
    assert "share of the gap to consensus@4 closed by training: 0.40" in text
    assert "A: 0.500 -> 0.625, points +12.5 (+1.0 to +20.0), on 30 programs of 5 problems" in text
    assert "gained (greedy): p060, p061" in text and "A +12.5 (+1.0 to +20.0)" in text
    assert all(len(line) <= 80 for line in lines[:7])


def test_results_of_the_first_version_are_shown_and_derived_again() -> None:
    result = compare({"base": BASE, "adapter": ADAPTER}, seed=1)
    old = first_version(result)
    assert old["verdict"].startswith("better (+12.5 points pass@1, 95 % interval +")
    assert set(old["base"]) == {"greedy_pass_at_1", "pass_at", "parsed_share", "crashed_share", "mean_tokens"}
    lines = result_lines("held-out", old)
    assert lines[2].split() == ["base", "0.300", "0.125", "-", "60", "1.000", "0.000", "-"]
    assert old["verdict"] in "\n".join(lines)
    worse: dict[str, Any] = first_version(result | {"difference": -0.1, "interval_95": [-0.2, -0.01]})
    flat = first_version(result | {"interval_95": [-0.2, 0.3]})
    assert worse["verdict"].startswith("worse (") and flat["verdict"].startswith("no measurable change (")
