"""The forecast before a round is measured on this computer, by the engine and by the trainer."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from conself_local.home import Home
from conself_local.model_files.bundled import bundled_model
from conself_local.model_files.model_file import load_model_file
from conself_local.round.forecast import forecast

pytestmark = pytest.mark.model


def test_the_forecast_states_programs_per_hour_training_time_memory_and_disk(tmp_path: Path) -> None:
    sampling, training, disk = forecast(Home(tmp_path), load_model_file(bundled_model()), 20)
    assert re.match(r"\d+ tokens/s: about [\d,]+ programs per hour, so about \d+ min to sample 20 problems", sampling)
    assert re.match(
        r"training on 14 pairs, if the round builds that many: about \d+ (s|min), \d+\.\d GiB of memory and \d+ MiB of disk",
        training,
    )
    assert disk.startswith("disk: ")
