"""Numbers, times and small charts are written the same way on every screen."""

from __future__ import annotations

import calendar

from tui.design import clock, day, duration, model_name, percent, plural, points, rough_percent
from tui.widgets.behaviour_matrix import Group, letters_of
from tui.widgets.big_table import BigTable, Column, _fit
from tui.widgets.curve import running_mean, value_range, whole_ticks
from tui.widgets.histogram import small_histogram
from tui.widgets.interval import Difference
from tui.widgets.stage_progress import Rate


def test_counts_have_their_plural() -> None:
    assert [plural(n, "problem") for n in (0, 1, 2)] == ["0 problems", "1 problem", "2 problems"]
    assert plural(1200, "program") == "1,200 programs" and plural(2, "branch", "branches") == "2 branches"


def test_shares_and_differences() -> None:
    assert percent(7 / 15) == "46.7 %" and percent(None) == "?" and rough_percent(0.2) == "20 %"
    assert points(0.1) == "+10.0" and points(-0.0667) == "-6.7"


def test_durations_have_hours_from_ninety_minutes_on() -> None:
    assert [duration(s) for s in (0, 40, 300, 89 * 60, 100 * 60, 120 * 60, 3 * 86400)] == [
        "1 s", "40 s", "5 min", "89 min", "1 h 40 min", "2 h", "3.0 days",
    ]  # fmt: skip


def test_the_clock_names_another_day() -> None:
    noon = calendar.timegm((2026, 1, 1, 12, 0, 0))
    assert len(clock(60, noon)) == 5 and len(clock(86400, noon)) == 9
    assert day("2026-01-01T00:00:00+00:00") == "2026-01-01 00:00"


def test_a_file_of_ollama_has_no_name_of_sixty_four_digits() -> None:
    assert model_name("sha256-" + "ab" * 32) == "Ollama model abababab" and model_name("coder.gguf") == "coder"


def test_the_axis_of_training_has_whole_steps_and_a_least_range() -> None:
    assert whole_ticks(58) == [1, 13, 25, 37, 49, 58] and whole_ticks(2) == [1, 2] and whole_ticks(1) == [1]
    low, high = value_range([0.5, 0.5], [])
    assert high - low >= 0.0199 and low < 0.5 < high
    assert value_range([0.05, -0.02], [-0.1, -1.0]) == (-0.1, 0.05), "a limit far away does not flatten the line"
    assert running_mean([1, 3, 5], 2) == [1.0, 2.0, 4.0]


def test_a_rate_needs_some_seconds_and_starts_anew_with_another_round() -> None:
    rate = Rate()
    rate.add(0, now=0.0)
    rate.add(5, now=1.0)
    assert rate.per_second == 0.0, "a second is too short to tell"
    rate.add(20, now=10.0)
    assert rate.per_second == 2.0
    rate.add(0, now=11.0)
    assert rate.per_second == 0.0


def test_a_difference_is_better_or_worse_only_with_its_whole_interval() -> None:
    def sign(low: float, high: float) -> str:
        return Difference("held-out", 30, 0.5, 0.6, 0.1, low, high).sign

    assert [sign(0.01, 0.2), sign(-0.01, 0.2), sign(-0.2, -0.01), sign(0.0, 0.2)] == ["✓", "=", "✗", "="]


def test_a_cell_has_the_width_of_its_column() -> None:
    assert _fit("7", 3, right=True) == "  7" and _fit("abcdef", 4, right=False) == "abc…"
    assert _fit("x\x1b[2J\n", 9, right=False) == "x\\x1b[2J " and _fit("日本", 5, right=False) == "日本 "


def test_small_histogram_shows_that_a_bin_is_not_empty() -> None:
    assert small_histogram([{"count": 0}, {"count": 1}, {"count": 80}]) == "_▁█"


def test_letters_follow_how_often_an_output_came() -> None:
    from conself_local.round.views import ProgramView

    def group(cluster: int, samples: int, output: str) -> Group:
        return Group(cluster, (ProgramView("", cluster, samples, None, (output,), ("ok",)),))

    assert letters_of([group(0, 1, "4"), group(1, 5, "5")], 0) == {"5": "a", "4": "b"}
    assert group(26, 1, "").name == "#27" and group(0, 1, "").name == "A"


def test_columns_that_do_not_fit_are_left_out() -> None:
    table = BigTable([Column("name", 4, grows=True), Column("made", 4, from_width=20)], lambda row: [row, "2026"])
    style = table.rich_style
    assert table._strip(["ab", "2026"], 10, style).text == "ab        "
    assert table._strip(["ab", "2026"], 20, style).text == "ab              2026"
