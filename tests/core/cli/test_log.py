"""`conself log` and `conself status` show what happened in a round, and never foreign text raw."""

from __future__ import annotations

import json
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from conself_local.cli.main import main
from conself_local.cli.options import sandbox_maker
from conself_local.events import START, Notice, NoticeKind
from conself_local.store.events import store_notice
from conself_local.store.store import Store
from sandbox import Limits, pool
from sandbox.guarantees import ALL_LAYERS
from tests.fakes.home_of_rounds import make_home


def _run(home: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["--home", str(home), *arguments])


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Return a home of three rounds with events in the first."""
    home = make_home(tmp_path / "home")
    with Store(home.database) as store:
        for number in range(6):
            store_notice(store, 1, "sample", Notice(f"heat {number}", NoticeKind.HEAT))
        store_notice(store, 1, "train", Notice("a forecast", NoticeKind.TRAINING_FORECAST))
    return home.path


def test_the_log_of_a_round_is_listed_oldest_first(home: Path) -> None:
    done = _run(home, "log", "--round", "1")
    lines = done.stdout.splitlines()
    assert done.exit_code == 0 and len(lines) == 7
    assert "warning" in lines[0] and "sample" in lines[0] and "heat 0" in lines[0]
    assert "notice" in lines[-1] and "training-forecast" in lines[-1]


def test_the_log_as_json_has_every_field(home: Path) -> None:
    found = json.loads(_run(home, "log", "--round", "1", "--json").stdout)
    assert found["round"] == 1 and len(found["events"]) == 7
    assert set(found["events"][0]) == {"stage", "kind", "severity", "text", "at_utc"}


def test_the_latest_round_is_the_default_and_nothing_is_said_clearly(home: Path) -> None:
    done = _run(home, "log")
    assert done.exit_code == 0 and done.stdout == "" and "round 3 has no notices" in done.stderr
    unknown = _run(home, "log", "--round", "9")
    assert unknown.exit_code == 2 and "there is no round 9" in unknown.stderr


def test_status_shows_how_many_and_the_latest(home: Path) -> None:
    shown = _run(home, "status", "--round", "1").stdout
    assert "7, of which 6 are warnings" in shown and "a forecast" in shown and "heat 1" not in shown
    assert len(json.loads(_run(home, "status", "--round", "1", "--json").stdout)["events"]) == 7


def test_a_hostile_store_cannot_reach_the_terminal(home: Path) -> None:
    row = {
        "round_id": 1,
        "stage": "\x1b[2J",
        "kind": "k\x9b",
        "severity": "warning",
        "text": "\x1b]52;c;aGk=\x07\nforged",
    }
    with Store(home / "conself.db") as store:
        store.db.table("events").insert(row | {"at_utc": "\x1b[31m"})
    for arguments in (("log", "--round", "1"), ("status", "--round", "1")):
        shown = _run(home, *arguments).output
        assert "\x1b" not in shown and "\x9b" not in shown and "\x07" not in shown and "forged" in shown
        assert not any(line.startswith("forged") for line in shown.splitlines()), "no line is forged"


def test_a_sandbox_that_lacks_a_layer_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    """The user agreed once, perhaps long ago; every round that ran so must say it."""
    monkeypatch.setattr(pool, "available_layers", lambda: tuple(one for one in ALL_LAYERS if one != "capabilities"))
    context = click.Context(main, obj={"weaker": ("capabilities",)})
    notices: list[Notice] = []
    with sandbox_maker(context, 1, notices.append)(Limits()):
        pass
    assert [(n.kind, n.stage) for n in notices] == [(NoticeKind.SANDBOX_WEAKER, START)]
    assert "capabilities" in notices[0].text
