"""Results are pooled over seeds and benchmarks: verdicts, weights, pooled greedy answers, the ranking measure."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from conself_local.errors import ConselfError
from conself_local.experiment.pooled import (
    changes_of,
    flips_of,
    gap_closed,
    greedy_differences,
    make_group,
    sampled_intervals,
)
from conself_local.experiment.results import Arm, ExperimentInputs, SeedResult, load_results
from conself_local.experiment.spec import read_experiment
from conself_local.experiment.table import figures_lines, report_lines, summary_lines, table_lines
from conself_local.settings import Settings, change_settings

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"
ONE, TWO = Arm("one", Settings()), Arm("two", change_settings(Settings(), {"training.beta": 0.2}))


def _result(arm: Arm, seed: int, benchmark: str, adapter: list[float], /, **compared: Any) -> SeedResult:
    """Return a result whose base solves nothing, with 4 samples per problem."""
    shares = {"parsed_share": 1.0, "crashed_share": 0.0, "greedy_pass_at_1": 0.0, "mean_tokens": 9.0}
    values = {"base": shares, "adapter": shares, "difference": 0.0, "interval_95": [0.0, 0.0], "samples_per_problem": 4}
    values |= {"gained": [], "lost": [], "mcnemar_p": 1.0, "verdict": "as it was stored"} | compared
    return SeedResult(
        arm, seed, benchmark, ExperimentInputs("m", "p", None), values, tuple([0.0] * len(adapter)), tuple(adapter),
        3, 2, 100, 60.0, 1, "a", {"numpy": "2"},
    )  # fmt: skip


def test_reach_is_derived_from_the_shares_and_the_verdict_from_all() -> None:
    gained = [f"p{i}" for i in range(20)]
    results = [_result(ONE, seed, "held-out", [0.5] * 20 + [0.0] * 20, gained=gained) for seed in (0, 1, 2)]
    changes = changes_of(make_group(results, ["held-out"], [0, 1, 2]), None)
    # 2 of 4 samples right: pass@4 is 1; half of the problems
    assert (changes.k, changes.reach.difference, changes.sampled.difference) == (4, 0.5, 0.25)
    assert changes.greedy.difference == 0.5 and changes.word == "better"
    flips = flips_of(make_group(results, ["held-out"], [0, 1, 2]))
    assert (flips.gained, flips.problems_gained) == (60, 20) and flips.p < flips.p_by_problem


def test_each_arm_has_its_own_number_of_samples() -> None:
    own, control = _result(ONE, 0, "held-out", [1.0]), _result(TWO, 0, "held-out", [0.05], samples_per_problem=20)
    changes = changes_of(make_group([own], ["held-out"], [0]), None, make_group([control], ["held-out"], [0]))
    # 1 of 20 samples of the control is right: its pass@4 is 4/20
    assert changes.k == 4 and changes.reach.difference == pytest.approx(0.8)


def test_the_gap_to_consensus_is_pooled_over_seeds_and_benchmarks() -> None:
    known = {"consensus_gained": [f"p{i}" for i in range(8)], "consensus_lost": []}
    results = [
        _result(ONE, seed, name, [0.0] * 20, gained=gained, **known)
        for seed, gained in ((0, ["p0", "p1"]), (1, ["p2", "p3"]))
        for name in ("held-out", "humaneval")
    ]
    # 2 of 20 greedy answers gained, and a gap of 8 of 20
    assert gap_closed(make_group(results, ["held-out", "humaneval"], [0, 1]), None) == pytest.approx(0.25)
    no_gap = [_result(ONE, 0, "held-out", [0.0] * 20, consensus_gained=["p"], consensus_lost=["q"])]
    old = [_result(ONE, 0, "held-out", [0.0] * 20)]
    assert [gap_closed(make_group(one, ["held-out"], [0]), None) for one in (no_gap, old)] == [None, None]


def test_the_figures_of_both_sides_are_means_over_seeds() -> None:
    base, adapter = (
        {
            "greedy_pass_at_1": 0.25,
            "pass_at": {"1": 0.125, "2": x},
            "consensus": x,
            "parsed_share": 1.0,
            "cut_share": 0.5,
        }
        | {"crashed_share": 0.0, "mean_tokens": 60.0}
        for x in (0.25, 0.5)
    )
    results = [
        _result(ONE, 0, "held-out", [0.0] * 4, base=base, adapter=adapter),
        _result(ONE, 1, "held-out", [0.0] * 4, base=base | {"consensus": 0.75}, adapter=adapter),
    ]
    figures, reach = figures_lines(results)[3], figures_lines(results)[5:]
    assert figures == (
        "| one | held-out | 25.0 | 12.5 | 50.0 | 25.0 | 12.5 | 50.0 | - | 60 -> 60 | 1.00 -> 1.00 | 0.50 -> 0.50 |"
    )
    assert reach == [
        "| arm | benchmark | pass@k | 1 | 2 |",
        "|---|---|---|---|---|",
        "| one | held-out | base | 12.5 | 25.0 |",
        "| one | held-out | adapter | 12.5 | 50.0 |",
    ]


def test_an_arm_is_compared_with_its_control_by_greedy_answers_too() -> None:
    one, two = (
        make_group([_result(arm, 0, "held-out", [0.0] * 4, gained=gained, lost=lost)], ["held-out"], [0])
        for arm, gained, lost in ((ONE, ["a"], ["b"]), (TWO, ["a", "c"], []))
    )
    (rows,) = greedy_differences(two, one)
    assert sorted(rows[0]) == [0.0, 0.0, 1.0, 1.0], "b was lost by the control, and c was not gained by it"


def test_the_weights_decide_how_benchmarks_are_combined() -> None:
    results = [
        _result(ONE, seed, name, scores)
        for seed in (0, 1)
        for name, scores in (("held-out", [0.0] * 30), ("humaneval", [1.0] * 10))
    ]
    weights = {"held-out": 0.4, "humaneval": 0.2}
    equal, weighted = table_lines(results)[-1], table_lines(results, weights)[-1]
    assert "| 2 | 40 | 3 3 | 0.0 | 25.0 | +25.0 (" in equal and "| 0.0 | 33.3 | +33.3 (" in weighted
    assert "fixed weights: held-out 0.4, humaneval 0.2." in "\n".join(report_lines("x", results, weights))
    assert "equal weights of all problems" in "\n".join(report_lines("x", results))


def test_the_ranking_measure_uses_the_problems_of_every_seed() -> None:
    def ranked(arm: Arm, after: dict[str, float], seed: int = 0) -> SeedResult:
        by_problem = {id: [0.5, value] for id, value in after.items()}
        return _result(arm, seed, "held-out", [0.0] * 3, ranking={"by_problem": by_problem})

    def changes(one: list[SeedResult], control: list[SeedResult] | None = None) -> float | None:
        groups = [make_group(side, ["held-out"], [0, 1]) for side in (one, *([control] if control else []))]
        found = changes_of(groups[0], None, groups[1] if control else None).ranking
        return found.difference if found else None

    one = [ranked(ONE, {"p": 1.0, "q": 0.5, "r": 0.0}), ranked(ONE, {"p": 1.0, "q": 0.75}, 1)]
    two = [ranked(TWO, {"p": 0.0, "q": 0.5}), ranked(TWO, {"p": 0.5, "q": 0.5}, 1)]
    assert changes(one) == pytest.approx((0.5 + 0.0 + 0.5 + 0.25) / 4)
    assert changes(one, two) == pytest.approx((1.0 + 0.0 + 0.5 + 0.25) / 4)
    assert changes([*one[:1], _result(ONE, 1, "held-out", [0.0] * 3)]) is None


def test_a_seed_without_an_adapter_is_left_out_and_stored_verdicts_stay() -> None:
    results = [_result(ONE, 0, "held-out", [0.5, 0.0]), replace(_result(ONE, 1, "held-out", []), compared=None)]
    assert make_group(results, ["held-out"], [0, 1]).seeds == (0,)
    assert [one.method for one in sampled_intervals(make_group(results, ["held-out"], [0, 1]), None)] == ["bootstrap"]
    lines = "\n".join(report_lines("x", results))
    assert "| one | held-out | 0 | as it was stored |" in lines and "no adapter was trained" in lines
    assert summary_lines([results[1]])[-1].startswith("| one | held-out | 1 | |")


@pytest.mark.parametrize("name", ["bundled", "two-rounds"])
def test_results_of_the_first_version_get_the_new_tables(name: str) -> None:
    lines = summary_lines(load_results(RESULTS / f"{name}.jsonl")[:12])
    verdicts = [line.rsplit(" | ", 1)[1] for line in lines if "(points, 95 % interval)" in line]
    assert verdicts and all(text.startswith(("better", "surer", "no measurable change", "worse")) for text in verdicts)


def test_consensus_pairs_raise_the_greedy_answers_of_the_code_model() -> None:
    """Pooled over both benchmarks, 54 greedy answers were gained and 27 lost; random pairs gained 42 and lost 38."""
    results = load_results(RESULTS / "qwen.jsonl")
    pooled = {
        arm: flips_of(make_group([r for r in results if r.arm.name == arm], ["held-out", "humaneval"], [0]))
        for arm in {one.arm.name for one in results}
    }
    assert (54, 27) in {(one.gained, one.lost) for one in pooled.values()}
    assert (42, 38) in {(one.gained, one.lost) for one in pooled.values()}


ARM = '[[arm]]\nname = "a"\n'


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('benchmarks = ["held-out", "humaneval"]\nweights = { held-out = 1 }\n', "weights must name every benchmark"),
        ('benchmarks = ["held-out"]\nweights = { held-out = 1 }\n', "at least two"),
        ('benchmarks = ["held-out", "humaneval"]\nweights = { held-out = 1, humaneval = 0 }\n', "above 0"),
        ('benchmarks = ["held-out", "humaneval"]\nweights = { held-out = 1, humaneval = "a" }\n', "above 0"),
        ("weights = 3\n", "weights must name"),
    ],
)
def test_mistakes_in_weights_are_named(text: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "e.toml").write_text(text + ARM)
    with pytest.raises(ConselfError, match=says):
        read_experiment(tmp_path / "e.toml")


def test_weights_are_read_and_do_not_change_what_is_computed(tmp_path: Path) -> None:
    text = 'benchmarks = ["validation", "held-out", "humaneval"]\n'
    for name, more in (("a", ""), ("b", "weights = { humaneval = 0.2, held-out = 0.4 }\n")):
        (tmp_path / f"{name}.toml").write_text(text + more + ARM)
    plain, weighted = (read_experiment(tmp_path / f"{name}.toml") for name in "ab")
    assert plain.weights is None and weighted.weights == {"held-out": 0.4, "humaneval": 0.2}
    assert plain.shared_name(plain.arms[0], 0) == weighted.shared_name(weighted.arms[0], 0)
