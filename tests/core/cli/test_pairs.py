"""`pairs --to` writes the pairs of a stored round; both verbs refuse what they cannot use, with the next step."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import fmean

import pytest
from click.testing import CliRunner, Result

from conself_local.cli.main import main
from conself_local.home import Home
from conself_local.store.store import Store
from tests.fakes.home_of_rounds import make_home


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """Return a home with three rounds of the bundled model that have pairs."""
    return make_home(tmp_path / "home")


def _run(home: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["--home", str(home), *arguments])


def test_the_pairs_of_a_round_are_written(home: Home, tmp_path: Path) -> None:
    target = tmp_path / "pairs.jsonl"
    with Store(home.database) as store:
        first, *others = store.rows("select id from pairs where round_id = 1 order by position")
        store.exclude_pair(first["id"], True)
    done = _run(home.path, "pairs", "--to", str(target), "--round", "1", "--json")
    assert done.exit_code == 0, done.output
    lines = [json.loads(line) for line in target.read_text().splitlines()]
    chosen, rejected = (fmean(len(line["conself"][name]) for line in lines) for name in ("chosen_ids", "rejected_ids"))
    assert json.loads(done.stdout) == {
        "round": 1, "pairs": len(others), "file": str(target),
        "chosen_tokens": pytest.approx(chosen), "rejected_tokens": pytest.approx(rejected),
    }  # fmt: skip
    assert len(lines) == len(others) and all(line["prompt"].startswith("<|im_start|>") for line in lines)
    assert "already exists" in _run(home.path, "pairs", "--to", str(target)).output


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["pairs", "--to", "x.jsonl", "--limit", "3"], "--limit cannot be used with --to"),
        (["pairs", "--to", "x.jsonl", "--seed", "3"], "--seed cannot be used with --to"),
        (["pairs", "--round", "3"], "--round needs --to FILE"),
        (["pairs", "--to", "x.jsonl", "--round", "9"], "there is no round 9"),
        (["train", "--name", "n"], "--name needs --pairs FILE"),
        (["train", "--pairs", "x.jsonl", "--problems", "y"], "--problems cannot be used with --pairs"),
        (["train", "--pairs", "x.jsonl", "--slots", "2"], "--slots cannot be used with --pairs"),
        (["train", "--pairs", "/nowhere/x.jsonl"], "/nowhere/x.jsonl cannot be read"),
        (["train", "--pairs", "x.jsonl", "--preset", "unknown"], "there is no preset 'unknown'"),
        (["train", "--pairs", "x.jsonl", "--set", "training.epochs=x"], "training.epochs"),
        (["train", "--pairs", "/nowhere/x.jsonl", "--name", "a/b"], "cannot be the name of an adapter"),
        (["train", "--pairs", "/nowhere/round-1.jsonl"], "an adapter named round-1 already exists"),
        (["train", "--pairs", "x.jsonl", "--model", "/nowhere/m.gguf"], "there is no model file"),
    ],
)
def test_what_cannot_be_used_is_refused(home: Home, arguments: list[str], says: str) -> None:
    done = _run(home.path, *arguments)
    assert done.exit_code == 2 and says in done.output and "->" in done.output, done.output


def test_a_home_without_pairs_says_how_to_make_some(home: Home, tmp_path: Path) -> None:
    with Store(home.database) as store:
        store.db.execute("delete from pairs")
    done = _run(home.path, "pairs", "--to", str(tmp_path / "x.jsonl"))
    assert done.exit_code == 2 and "has no pairs" in done.output and "conself pairs" in done.output
    assert not (tmp_path / "x.jsonl").exists()


def test_an_adapter_of_a_file_is_listed_with_its_origin(home: Home) -> None:
    with Store(home.database) as store:
        store.db.table("adapters").update(1, {"round_id": 0, "origin": "3 pairs of x.jsonl, sha256 abc"})
    done = _run(home.path, "adapters")
    assert "from the base model" in done.output and "trained on 3 pairs of x.jsonl" in done.output


def test_adapters_are_accepted_and_rejected_or_nothing_is_changed(home: Home) -> None:
    def state() -> str:
        with Store(home.database) as store:
            return str(store.adapter(1)["state"])

    for given, wanted in (("--reject", "rejected"), ("--accept", "accepted"), ("--reject", "rejected")):
        assert f" {wanted} " in _run(home.path, "adapters", given, "1").output and state() == wanted
    for wrong, said in (
        (("--accept", "1", "--reject", "99"), "there is no adapter 99"),
        (("--accept", "1", "--reject", "1"), "cannot be accepted and"),
    ):
        refused = _run(home.path, "adapters", *wrong)
        assert refused.exit_code == 2 and said in refused.output and state() == "rejected"
