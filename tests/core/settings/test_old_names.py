"""What the version with flat names wrote is read as it was meant: rounds, results, experiment files, shared folders."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from conself_local.experiment.results import load_results
from conself_local.experiment.spec import Experiment, read_experiment
from conself_local.settings import (
    FIELDS,
    LAPTOP,
    PAPER,
    SHARED_NAMES,
    change_settings,
    settings_from_json,
    settings_to_json,
)
from conself_local.settings.old_names import OLD_NAMES, rename_old
from conself_local.stages.train import job_of
from conself_local.store.store import Store
from conself_local.training.job import TokenPair
from tests.fakes.home_of_rounds import REAL_ROUND

if TYPE_CHECKING:
    from conself_local.model_files.model_file import ModelFile

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
STORED = Path(__file__).parent / "stored_by_the_version_before.json"
"""The column `settings` of a round that the last version with flat names stored under `laptop`."""


def _stored() -> dict[str, Any]:
    return dict(json.loads(STORED.read_text()))


def test_every_old_name_has_its_setting_and_every_setting_of_then_its_old_name() -> None:
    assert set(OLD_NAMES) == set(_stored()) - {"preset"}
    assert len(set(OLD_NAMES.values())) == len(OLD_NAMES) and set(OLD_NAMES.values()) <= set(FIELDS)


def test_a_stored_round_has_the_settings_that_it_had() -> None:

    assert settings_from_json(_stored()) == change_settings(LAPTOP, {"training.strength": 1.0})
    assert settings_from_json(json.loads(json.dumps(settings_to_json(LAPTOP)))) == LAPTOP
    assert settings_from_json({}) == PAPER, "what is missing has the default that it had"
    odd = settings_from_json(_stored() | {"max_pairs": 0, "threshold": -1, "learning_rate": 1})
    assert (odd.pairs.max_pairs, odd.selection.entropy_threshold) == (0, -1), "a round of then stays readable"
    assert type(odd.training.learning_rate) is int, "the hash of an unfinished training covers 1, not 1.0"


def test_a_training_that_was_stopped_goes_on_from_its_checkpoint() -> None:
    """A checkpoint is used only by a job of the same hash; these are the hashes that the version before computed."""
    model = cast("ModelFile", SimpleNamespace(path=Path("/models/m.gguf"), architecture="llama"))
    pair = TokenPair((1, 2), (3,), (4, 5), 0.5)
    jobs = [job_of(settings, model, (pair,), seed=3) for settings in (settings_from_json(_stored()), PAPER)]
    assert [job.content_hash() for job in jobs] == [
        "6d12fd8625f4fe7f2a005d63a65cf201",
        "69b4b760c3d13c7025bb25197fd59af4",
    ]


@pytest.mark.parametrize(("old", "new"), [(1.1, None), (2, None), (1.0, 1.0), (0.3, 0.3), (True, True), ("x", "x")])
def test_a_threshold_that_let_everything_pass_is_off(old: object, new: object) -> None:
    assert rename_old({"threshold": old}) == {"selection.entropy_threshold": new}


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"colour": 1}, "colour"),
        ({"beta": "x"}, "training.beta"),
        ({"threshold": True}, "selection.entropy_threshold"),
        ({"preset": "mine"}, "preset must be one of"),
        ({"beta": 0.1, "training.beta": 0.2}, "given twice"),
        ({"training": {"beta": 0.1}, "beta": 0.2}, "given twice"),
        ([], "must be a table"),
    ],
)
def test_damaged_values_are_named(values: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        settings_from_json(values)


def test_a_store_of_then_opens_unchanged(tmp_path: Path) -> None:
    path = tmp_path / "conself.db"
    shutil.copy(REAL_ROUND, path)
    with closing(sqlite3.connect(path)) as db:
        (before,) = db.execute("select settings from rounds").fetchone()
    with Store(path) as store:
        round_ = store.round(1)
        assert store.value("select settings from rounds") == before and "normaliser" in before
    values = json.loads(before)
    assert round_.settings.selection.entropy_threshold == values["threshold"] == 0.3
    assert round_.settings.training.learning_rate == values["learning_rate"]
    assert round_.settings.pairs.min_cluster_share == 0.0, "the round was stored before that setting existed"


FLAT = ("bundled", "qwen", "search", "two-rounds")
"""The results whose settings have the flat names."""


@pytest.mark.parametrize("path", sorted((BENCHMARKS / "results").glob("*.jsonl")), ids=lambda path: path.stem)
def test_published_results_are_read(path: Path) -> None:
    results = load_results(path)
    stored = [json.loads(line)["settings"] for line in path.read_text().splitlines()]
    assert len(results) == len(stored) > 0
    for result, values in zip(results, stored, strict=True):
        if path.stem not in FLAT:
            found = settings_to_json(result.arm.settings)
            assert {group: _common(found[group], values[group]) for group in values} == values, "settings may be added"
            continue
        assert result.arm.settings.training.beta == values["beta"]
        assert result.arm.settings.selection.entropy_threshold == (
            None if values["threshold"] > 1 else values["threshold"]
        )


def _common(found: Any, stored: Any) -> Any:
    """Return the part of a group of settings that was stored, or a value that is no group."""
    return {name: found[name] for name in stored} if isinstance(stored, dict) else found


def _in_old_names(text: str) -> str:
    """Return an experiment file of today as the version before would have it."""
    for old, new in OLD_NAMES.items():
        text = re.sub(rf"\b{re.escape(new)} = ", f"{old} = ", text)
    return text


@pytest.mark.parametrize("name", ["bundled", "qwen", "search", "smoke", "two-rounds"])
def test_an_experiment_file_of_then_is_the_same_experiment(name: str, tmp_path: Path) -> None:
    path = BENCHMARKS / "experiments" / f"{name}.toml"
    old = tmp_path / path.name
    old.write_text(_in_old_names(path.read_text()))
    assert "settings" in old.read_text() and not re.search(r"= \{ \w+\.", old.read_text())
    assert read_experiment(old) == read_experiment(path)


def test_an_experiment_file_of_then_may_switch_the_threshold_off(tmp_path: Path) -> None:
    path = tmp_path / "e.toml"
    path.write_text('[[arm]]\nname = "a"\npreset = "paper"\nsettings = { threshold = 1.1, min_share = 0.5 }\n')
    (arm,) = read_experiment(path).arms
    assert (arm.settings.selection.entropy_threshold, arm.settings.pairs.min_cluster_share) == (None, 0.5)


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("bundled", "samples 5820bc62 0"),
        ("qwen", "samples 187d21e4 0"),
        ("search", "samples 5820bc62 0"),
        ("smoke", "samples f4acc49b 0"),
        ("two-rounds", "samples 5820bc62 0"),
    ],
)
def test_the_samples_of_an_unfinished_experiment_are_found_again(name: str, folder: str) -> None:
    """These are the names that the version before computed; another one would sample for hours again."""
    experiment: Experiment = read_experiment(BENCHMARKS / "experiments" / f"{name}.toml")
    assert {experiment.shared_name(arm, 0) for arm in experiment.arms} == {folder}


def test_arms_share_samples_only_if_these_are_made_alike() -> None:
    experiment = read_experiment(BENCHMARKS / "experiments" / "smoke.toml")
    arm = experiment.arms[0]
    own = experiment.shared_name(arm, 0)
    others: dict[str, Any] = {
        "sampling.top_p": 0.5, "execution.exact_behaviour": True, "augmentation.max_inputs": 3, "evaluation.samples": 9,
        "selection.max_crash_rate": 0.5, "pairs.max_pairs": 5, "training.epochs": 5,
    }  # fmt: skip
    for setting, value in others.items():
        changed = type(arm)(arm.name, change_settings(arm.settings, {setting: value}))
        assert (experiment.shared_name(changed, 0) != own) == (setting in SHARED_NAMES), setting
    assert {name.partition(".")[0] for name in SHARED_NAMES} == {"sampling", "execution", "augmentation", "evaluation"}
