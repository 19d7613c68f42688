"""Presets of the home are kept, found and removed; hostile names and files are refused, and nothing else is touched."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from conself_local.errors import ConselfError
from conself_local.home import Home
from conself_local.round.presets import (
    choose_settings,
    delete_preset,
    find_preset,
    list_presets,
    read_settings_file,
    save_preset,
)
from conself_local.settings import LAPTOP, PAPER, PRESETS, Settings, change_settings, describe_settings


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


@pytest.mark.parametrize("base", PRESETS.values(), ids=PRESETS)
def test_a_preset_is_found_with_all_its_values(home: Home, base: Settings) -> None:
    """Every kind of value survives: none, a switch, a choice, a small and a whole number."""
    settings = change_settings(
        base,
        {
            "selection.entropy_threshold": "none" if base is PAPER else 0.25,
            "pairs.distinct_code": base is PAPER,
            "pairs.rejected": "ran-first",
            "training.learning_rate": 5e-7,
            "training.epochs": 7,
        },
    )
    path = save_preset(home, "mine", settings)
    assert find_preset(home, "mine").settings() == settings and list_presets(home) == ["mine"]
    assert path.stat().st_mode & 0o077 == 0, "what is in the home is private"
    delete_preset(home, "mine")
    assert list_presets(home) == [] and not path.exists()


def test_option_file_and_single_settings_follow_each_other(home: Home, tmp_path: Path) -> None:
    save_preset(home, "mine", change_settings(PAPER, {"training.epochs": 7, "training.beta": 0.7}))
    file = tmp_path / "s.toml"
    file.write_text('preset = "laptop"\ntraining.beta = 0.3\n[pairs]\nmax_pairs = 9\n')
    chosen = choose_settings(
        home, preset="mine", file=file, texts=["training.epochs=2", " training.epochs = 4 ", "pairs.rejected=ran-first"]
    ).settings()
    assert (chosen.preset, chosen.training.epochs, chosen.training.beta) == ("paper", 4, 0.3)
    assert (chosen.pairs.max_pairs, chosen.pairs.rejected) == (9, "ran-first")
    assert choose_settings(home, file=file).settings().preset == "laptop"
    assert choose_settings(home).settings() == LAPTOP
    assert describe_settings(LAPTOP) == "preset laptop"
    assert describe_settings(chosen) == "preset paper, 4 settings changed"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("training.epochs", "write it as NAME=VALUE"),
        ("", "write it as NAME=VALUE"),
        ("=5", "unknown setting ''"),
        ("epochs=5", "it is called training.epochs now"),
        ("training.colour=5", "unknown setting 'training.colour'"),
        ("training.epochs=five", "training.epochs must be a whole number"),
        ("training.epochs=0", "at least 1"),
        ("training.epochs=none", "training.epochs must be"),
        ("training.learning_rate=nan", "training.learning_rate must be"),
        ("preset=paper", "choose a preset with --preset"),
        ("training=5", "training must be a table"),
    ],
)
def test_mistakes_in_single_settings_are_named(home: Home, text: str, says: str) -> None:
    with pytest.raises(ConselfError, match=says) as caught:
        choose_settings(home, texts=[text])
    assert str(caught.value).startswith("--set")


def test_contradictions_are_named_when_everything_is_chosen(home: Home) -> None:
    texts = ["sampling.max_new_tokens=2048", "training.max_tokens=4096"]
    assert choose_settings(home, texts=texts).settings().training.max_tokens == 4096
    with pytest.raises(ConselfError, match=r"training\.max_tokens must be at least"):
        choose_settings(home, texts=texts[:1]).settings()


@pytest.mark.parametrize(
    "text",
    [
        "training.epochs = ",
        "training = 3",
        "[training]\nepochs = '5'",
        "[training]\nepochs = 2020-01-01",
        "[training]\nlearning_rate = nan",
        "[training]\nlearning_rate = " + "9" * 4000,
        "[training]\n'a\\u001b[2J' = 1",
        "preset = 'mine'",
        "preset = ['laptop']",
        "[[training]]\nepochs = 1",
        "[selection]\nthreshold = 1.1",
        "threshold = 1.1",
        "x = " + "[" * 90_000,
        "\x00",
        "a" * 1_100_000,
    ],
    ids=lambda text: text[:20].encode("unicode_escape").decode(),
)
def test_hostile_files_are_refused_in_one_line(home: Home, tmp_path: Path, text: str) -> None:
    file = tmp_path / "s.toml"
    file.write_text(text)
    with pytest.raises(ConselfError, match=r"s\.toml") as caught:
        read_settings_file(file)
    assert "\x1b" not in str(caught.value) and len(str(caught.value)) < 800
    home.presets.mkdir()
    (home.presets / "bad.toml").write_text(text)
    with pytest.raises(ConselfError, match=r"bad\.toml"):
        find_preset(home, "bad")


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../mine", "/tmp/mine", "a b", "Mine", "a\x1b[2J", "a\n", "-x", "a" * 41, "ä", "laptop"]
)
def test_hostile_names_are_refused(home: Home, name: str) -> None:
    for act in (lambda: save_preset(home, name, LAPTOP), lambda: delete_preset(home, name)):
        with pytest.raises(ConselfError):
            act()
    assert not home.presets.exists() or list(home.presets.iterdir()) == []
    if name != "laptop":
        with pytest.raises(ConselfError, match="there is no preset"):
            find_preset(home, name)


def test_a_name_is_not_used_twice_and_links_are_not_written_through(home: Home, tmp_path: Path) -> None:
    save_preset(home, "mine", LAPTOP)
    with pytest.raises(ConselfError, match="there is a preset mine already"):
        save_preset(home, "mine", PAPER)
    assert find_preset(home, "mine").settings() == LAPTOP
    (home.presets / "link.toml").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConselfError):
        save_preset(home, "link", PAPER)
    assert not (tmp_path / "elsewhere").exists()


def test_settings_that_contradict_each_other_are_not_kept(home: Home) -> None:
    broken = dataclasses.replace(LAPTOP, training=dataclasses.replace(LAPTOP.training, max_tokens=10))
    with pytest.raises(ConselfError, match="cannot be used together"):
        save_preset(home, "mine", broken)
    assert list_presets(home) == []


def test_other_files_are_no_presets(home: Home) -> None:
    home.presets.mkdir()
    for name in (".mine.toml", "A.toml", "b.txt", "c.toml.bak"):
        (home.presets / name).write_text("")
    assert list_presets(home) == []
