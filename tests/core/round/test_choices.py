"""What a person chose for the next round is kept in the home and becomes arguments of `conself run`."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from conself_local.errors import ConselfError
from conself_local.home import Home
from conself_local.round.choices import Choices, chosen_settings, load_choices, run_arguments, save_choices
from conself_local.round.presets import save_preset
from conself_local.settings import LAPTOP, change_settings

CHOSEN = Choices(
    model="/m.gguf", limit="16", rounds="2", changes={"training.learning_rate": "5e-05"}, benchmarks=("validation",)
)


def test_choices_are_kept_privately_and_become_arguments(tmp_path: Path) -> None:
    home = Home(tmp_path)
    assert load_choices(home) is None
    save_choices(home, CHOSEN)
    assert load_choices(home) == CHOSEN and (tmp_path / "choices.json").stat().st_mode & 0o077 == 0
    assert run_arguments(home, CHOSEN, new=True) == [
        "--preset", "laptop", "--set", "training.learning_rate=5e-05", "--model", "/m.gguf",
        "--limit", "16", "--benchmark", "validation", "--rounds", "2", "--new",
    ]  # fmt: skip
    assert chosen_settings(home, CHOSEN).training.learning_rate == 5e-05
    typed = run_arguments(home, dataclasses.replace(CHOSEN, seed=" 3 "))
    assert typed[2:4] == ["--seed", "3"]


def test_a_preset_of_the_home_is_the_base_of_changes(tmp_path: Path) -> None:
    home = Home(tmp_path)
    save_preset(home, "mine", change_settings(LAPTOP, {"training.epochs": 3}))
    settings = chosen_settings(home, Choices(preset="mine", changes={"training.beta": "0.2"}))
    assert settings.training.epochs == 3 and settings.training.beta == 0.2


def test_a_preset_of_the_home_that_contradicts_itself_can_be_corrected(tmp_path: Path) -> None:
    """An earlier version may have kept it."""
    home = Home(tmp_path)
    save_preset(home, "mine", change_settings(LAPTOP, {"acceptance.guard": True}))
    (path,) = home.presets.iterdir()
    path.write_text(path.read_text() + "[evaluation]\nsamples = 1\n")
    chosen = Choices(preset="mine", limit="3")
    with pytest.raises(ConselfError, match=r"evaluation\.samples must be at least 5"):
        run_arguments(home, chosen)
    assert run_arguments(home, dataclasses.replace(chosen, changes={"acceptance.guard": "false"}))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"limit": "0"}, "how many problems"),
        ({"limit": "x"}, "not a whole number"),
        ({"rounds": "21"}, "from 1 to 20"),
        ({"rounds": ""}, "rounds"),
        ({"limit": "9" * 10}, "from 1 to 999,999,999"),
        ({"seed": "-1"}, "seed"),
        ({"seed": "1000000000"}, "from 0 to 999,999,999"),
        ({"seed": "9" * 5000}, "seed"),
        ({"seed": "\u0661"}, "seed"),
        ({"benchmarks": ()}, "nothing would be judged"),
        ({"preset": "none"}, "there is no preset"),
        ({"changes": {"training.max_tokens": "64"}}, "training.max_tokens must be at least"),
    ],
)
def test_a_wrong_choice_is_named(wrong: dict[str, object], said: str, tmp_path: Path) -> None:
    with pytest.raises(ConselfError) as error:
        run_arguments(Home(tmp_path), dataclasses.replace(CHOSEN, **wrong))  # type: ignore[arg-type]
    assert said in str(error.value.message)


@pytest.mark.parametrize("damage", ["", "[]", "{", "null", "\x00"])
def test_damaged_choices_count_as_none(damage: str, tmp_path: Path) -> None:
    (tmp_path / "choices.json").write_text(damage)
    assert load_choices(Home(tmp_path)) is None


def test_hostile_entries_are_left_out(tmp_path: Path) -> None:
    changes = {"training.beta": "1e999", "no.such": "1", "training.epochs": 3, "sampling.top_p": "0.5"}
    kept = {"model": 7, "limit": "9" * 5000, "benchmarks": ["x"], "changes": changes, "other": 1}
    (tmp_path / "choices.json").write_text(json.dumps(kept))
    assert load_choices(Home(tmp_path)) == Choices(changes={"sampling.top_p": "0.5"})
