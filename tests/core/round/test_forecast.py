"""The speed of a round is measured on this computer, kept for its model, and taken for no other one."""

from __future__ import annotations

from pathlib import Path

import pytest

from conself_local.home import Home
from conself_local.model_files.bundled import bundled_model
from conself_local.model_files.model_file import load_model_file
from conself_local.round.cost import TYPICAL_PAIRS, Experience, Rates, cost_of, work_of
from conself_local.round.forecast import load_experience, load_rates, measure_rates
from conself_local.settings import LAPTOP, change_settings
from conself_local.store.store import Store
from tests.fakes.tiny_model import write_tiny_model


@pytest.mark.model
def test_rates_are_measured_kept_and_taken_for_their_model_only(tmp_path: Path) -> None:
    home, model = Home(tmp_path), load_model_file(bundled_model())
    assert load_rates(home, model) is None
    rates, said = measure_rates(home, model)
    assert not said and rates.tokens_per_second > 1 and rates.seconds_per_pair and rates.training_bytes
    assert load_rates(home, model) == rates
    assert load_rates(home, write_tiny_model(tmp_path / "tiny.gguf")) is None


@pytest.mark.parametrize("damage", ["", "[1]", "{", '{"%s": 3}', '{"%s": {"tokens_per_second": -1}}'])
def test_damaged_rates_count_as_not_measured(damage: str, tmp_path: Path) -> None:
    model = write_tiny_model(tmp_path / "tiny.gguf")
    (tmp_path / "rates.json").write_text(damage.replace("%s", model.sha256))
    assert load_rates(Home(tmp_path), model) is None


def test_the_cost_follows_the_settings() -> None:
    experience = Experience(tokens_per_program=50.0, pairs_per_problem=1.0)
    rates = Rates(tokens_per_second=100.0, seconds_per_pair=2.0)
    work = work_of(LAPTOP, 10, 20, experience)
    assert (work.answers, work.pairs) == (180, 10)
    plain = change_settings(LAPTOP, {"sampling.prompt": "plain"})
    assert work_of(plain, 10, 20, experience).answers == 150, "a prompt without observations asks for none"
    assert work.judged == 2 * 20 * (1 + LAPTOP.evaluation.samples)
    cost = cost_of(LAPTOP, work, rates, experience)
    assert cost.sampling_s == 90.0 and cost.training_s == 10 * LAPTOP.training.epochs * 2.0
    longer = change_settings(LAPTOP, {"training.epochs": 2 * LAPTOP.training.epochs})
    assert cost_of(longer, work, rates, experience).training_s == 2 * cost.training_s
    unknown = cost_of(LAPTOP, work, Rates(tokens_per_second=100.0), experience)
    assert unknown.training_s is None and unknown.seconds == unknown.sampling_s + unknown.judging_s


def test_rounds_of_this_home_tell_more_than_what_is_typical(tmp_path: Path) -> None:
    with Store(tmp_path / "conself.db") as store:
        assert load_experience(store, "none").pairs_per_problem == TYPICAL_PAIRS
