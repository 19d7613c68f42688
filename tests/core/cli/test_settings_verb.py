"""`conself settings` shows, keeps and removes; `conself run` refuses wrong settings before it begins."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from click.testing import CliRunner, Result

from conself_local.cli.main import main
from conself_local.problems.toml_file import read_toml
from conself_local.settings import FIELDS, LAPTOP, PAPER, get_value
from tests.fakes.home_of_rounds import REAL_ROUND

EXPERIMENTS = Path(__file__).parents[2] / "benchmarks" / "experiments"


def _conself(home: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["--home", str(home), *arguments])


def _json(home: Path, *arguments: str) -> Any:
    done = _conself(home, "settings", "--json", *arguments)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_every_setting_is_shown_with_all_that_is_known(tmp_path: Path) -> None:
    shown = _json(tmp_path)
    assert shown["source"] == "the preset laptop" and shown["changed"] == []
    rows = {row["name"]: row for row in shown["settings"]}
    assert list(rows) == list(FIELDS)
    for name, row in rows.items():
        assert row["presets"] == {"paper": get_value(PAPER, name), "laptop": get_value(LAPTOP, name)}
        assert (
            row["meaning"]
            and row["allowed"]
            and row["time"]
            and row["reason"]
            and row["value"] == get_value(LAPTOP, name)
        )
    text = _conself(tmp_path, "settings").stdout
    for name, row in rows.items():
        assert f"  {name} = " in text and row["meaning"] in text and row["allowed"] in text


def test_what_only_reads_makes_no_home(tmp_path: Path) -> None:
    missing = tmp_path / "mistyped"
    for arguments in ([], ["--list"], ["--preset", "mine"], ["--delete", "mine"], ["--set", "training.epochs=3"]):
        _conself(missing, "settings", *arguments)
    _conself(missing, "run", "--set", "training.epochs=0")
    assert not missing.exists()


def test_the_settings_of_a_home_of_the_version_before_are_shown(tmp_path: Path) -> None:
    shutil.copy(REAL_ROUND, tmp_path / "conself.db")
    shown = _json(tmp_path)
    assert shown["source"] == "the settings of round 1" and shown["preset"] == "laptop" and shown["changed"]
    changed = [row["name"] for row in shown["settings"] if row["changed"]]
    assert changed == shown["changed"]
    text = _conself(tmp_path, "settings").stdout
    status = _conself(tmp_path, "status").stdout
    assert "changed settings   " in status and all(name in status for name in changed)
    assert f"preset laptop, {len(changed)} changed" in text and text.count("(changed; paper: ") == len(changed)


def test_a_preset_is_kept_listed_used_and_removed(tmp_path: Path) -> None:
    kept = _conself(tmp_path, "settings", "--preset", "paper", "--set", "training.epochs=7", "--save", "mine")
    assert kept.exit_code == 0 and "mine" in kept.stderr, kept.output
    assert _conself(tmp_path, "settings", "--list").stdout.split() == ["paper", "laptop", "mine"]
    shown = _json(tmp_path, "--preset", "mine", "--set", "training.beta=0.3")
    assert (shown["preset"], shown["changed"]) == ("paper", ["training.beta", "training.epochs"])
    assert {row["presets"]["mine"] for row in shown["settings"] if row["name"] == "training.epochs"} == {7}
    (tmp_path / "presets" / "broken.toml").write_text("training = 3")
    presets = _json(tmp_path)["presets"]
    assert presets["home"] == ["broken", "mine"] and "training must be a table" in presets["unusable"]["broken"]
    assert _conself(tmp_path, "settings", "--delete", "mine").exit_code == 0
    gone = _conself(tmp_path, "settings", "--preset", "mine")
    assert gone.exit_code == 2 and "there is no preset 'mine'" in gone.stderr and "laptop" in gone.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--set", "training.epochs=0"), "training.epochs must be a whole number, at least 1"),
        (("--set", "sampling.max_new_tokens=4000"), "training.max_tokens must be at least"),
        (("--preset", "mine"), "there is no preset"),
        (("--settings", "/nowhere/s.toml"), "/nowhere/s.toml cannot be read"),
    ],
)
def test_a_round_with_wrong_settings_does_not_begin(tmp_path: Path, arguments: tuple[str, ...], says: str) -> None:
    done = _conself(tmp_path, "run", *arguments)
    assert done.exit_code == 2 and says in done.stderr and "->" in done.stderr, done.output
    assert "begins" not in done.output and not list(tmp_path.glob("training/*"))


def test_an_unfinished_round_is_continued_only_with_its_own_settings(tmp_path: Path) -> None:
    """Settings on the command line would otherwise be ignored without a word."""
    shutil.copy(REAL_ROUND, tmp_path / "conself.db")
    with closing(sqlite3.connect(tmp_path / "conself.db")) as db, db:
        db.execute("update rounds set state = 'running', model_path = '/nowhere/m.gguf'")
    for change in ("training.epochs=9", "training.max_displacement=none"):
        done = _conself(tmp_path, "run", "--set", change, "--preset", "laptop")
        assert done.exit_code == 2 and f"a different {change.split('=')[0]}" in done.stderr, done.output
    same = _conself(tmp_path, "run", "--set", "training.beta=0.1", "--set", "selection.entropy_threshold=0.3")
    assert "there is no model file at /nowhere/m.gguf" in same.stderr, "only the missing model stops it"


def test_the_printed_schemas_accept_what_the_program_reads_and_nothing_else() -> None:
    schema = json.loads(CliRunner().invoke(main, ["experiment", "--schema"]).stdout)
    for path in EXPERIMENTS.glob("*.toml"):
        jsonschema.validate(read_toml(path, "")[1], schema)
    for seed in (-1, 10**9):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({"arm": [{"name": "a"}], "seeds": [seed]}, schema)
    settings = json.loads(CliRunner().invoke(main, ["settings", "--schema"]).stdout)
    jsonschema.validate({"preset": "paper", "selection": {"entropy_threshold": "none"}}, settings)
    for wrong in (
        {"training": {"epochs": 0}},
        {"training": {"warmup_ratio": 1}},
        {"training": {"learning_rate": 0}},
        {"training": {"colour": 1}},
        {"pairs": {"rejected": "none"}},
        {"threshold": 1.1},
    ):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, settings)
