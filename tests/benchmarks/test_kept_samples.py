"""A file of kept samples gives the round back, row by row, and names no folder of the computer that sampled."""

from __future__ import annotations

import dataclasses
import gzip
import json
import shutil
from pathlib import Path

import pytest

from conself_local.errors import ConselfError
from conself_local.experiment.spec import Experiment, read_experiment
from conself_local.round.verify import verify_store
from conself_local.stages.score import load_evidence
from conself_local.store.store import Store
from tests.benchmarks.kept_samples import TABLES, make_home, make_shared_homes, open_copy, write_samples
from tests.fakes.home_of_rounds import REAL_ROUND
from tests.fakes.home_of_rounds import make_home as make_home_of_rounds


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Return a home with one real round, whose model and problems are files in a folder of some user."""
    (tmp_path / "home").mkdir()
    shutil.copy(REAL_ROUND, tmp_path / "home" / "conself.db")
    with Store(tmp_path / "home" / "conself.db") as store:
        store.db.execute("update rounds set model_path = '/home/ann/m.gguf'")
        store.db.execute("update rounds set request = json_set(request, '$.problems', '/home/ann/p.jsonl')")
    return tmp_path / "home"


def test_a_round_comes_back(home: Path, tmp_path: Path) -> None:
    write_samples(home, tmp_path / "kept.jsonl.gz")
    assert b"ann" not in gzip.decompress((tmp_path / "kept.jsonl.gz").read_bytes())
    make_home(tmp_path / "kept.jsonl.gz", tmp_path / "again")
    with Store(home / "conself.db") as old, Store(tmp_path / "again" / "conself.db") as new:
        for table in TABLES:
            rows = [one.rows(f"select * from {table}") for one in (old, new)]
            rows[0] = [row for row in rows[0] if row.get("arm", "base") == "base"]
            assert table in ("rounds", "stages") or rows[0] == rows[1]
        assert new.rows("select * from evaluation_samples")
        assert verify_store(new) == []
        assert old.rows("select * from samples") and old.rows("select * from behaviours")
        round_ = new.round(1)
        assert (str(round_.model_path), round_.request["problems"]) == ("m.gguf", "p.jsonl")
        for problem in new.round_problems(1):
            assert load_evidence(new, round_, problem) == load_evidence(old, old.round(1), problem)


def test_the_same_round_gives_the_same_bytes(home: Path, tmp_path: Path) -> None:
    for name in ("a.gz", "b.gz"):
        write_samples(home, tmp_path / name)
    assert (tmp_path / "a.gz").read_bytes() == (tmp_path / "b.gz").read_bytes()


def test_a_copy_is_made_of_a_home_and_of_a_file_and_leaves_both_alone(home: Path, tmp_path: Path) -> None:
    write_samples(home, tmp_path / "kept.jsonl.gz")
    for source in (home, tmp_path / "kept.jsonl.gz"):
        with open_copy(source) as store:
            assert store.round(1).id == 1
            store.db.execute("delete from stages")
    with Store(home / "conself.db") as store:
        assert store.rows("select * from stages")


def test_what_is_no_home_with_one_round_is_refused(home: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConselfError, match="holds no data yet"), open_copy(tmp_path / "empty"):
        pass
    assert not list((tmp_path / "empty").iterdir())
    two = make_home_of_rounds(tmp_path / "two")
    with pytest.raises(ConselfError, match="does not hold one round of a base model"):
        write_samples(two.path, tmp_path / "kept.jsonl.gz")


def test_a_file_cannot_write_to_other_tables(tmp_path: Path) -> None:
    (tmp_path / "f.gz").write_bytes(gzip.compress(json.dumps({"table": "adapters", "id": 1}).encode()))
    with pytest.raises(ValueError, match="'adapters', which is not kept"):
        make_home(tmp_path / "f.gz", tmp_path / "home")


def _experiment(
    folder: Path, settings: str = "evaluation.samples = 5", change: tuple[str, str] = ("", "")
) -> Experiment:
    """Return an experiment on the problems and benchmarks of the real round, whose second and third arm share its samples."""
    (folder / "p.jsonl").write_text("{}\n")
    arms = (("a", "sampling.observations = 1"), ("b", settings), ("c", "training.beta = 0.3"))
    text = 'problems = "p.jsonl"\nseeds = [4, 5]\nbenchmarks = ["validation", "held-out"]\n'
    text += "".join(f'[[arm]]\nname = "{name}"\nsettings = {{ {values} }}\n' for name, values in arms)
    (folder / "e.toml").write_text(text.replace(*change))
    return read_experiment(folder / "e.toml")


def test_the_arms_of_an_experiment_share_the_samples(home: Path, tmp_path: Path) -> None:
    kept, experiment = tmp_path / "kept.jsonl.gz", _experiment(tmp_path)
    write_samples(home, kept)
    (target,) = make_shared_homes(kept, experiment, tmp_path / "folder")
    assert {experiment.shared_name(arm, 5) for arm in experiment.arms[1:]} == {target.name}
    with Store(home / "conself.db") as old, Store(target / "conself.db") as new:
        round_ = new.round(1)
        assert round_.settings == experiment.arms[1].settings and round_.model_path == experiment.model_file().path
        assert (round_.state, round_.request["problems"]) == ("running", str(experiment.problems))
        assert new.rows("select * from samples") == old.rows("select * from samples")
    with pytest.raises(ConselfError, match="exists already"):
        make_shared_homes(kept, experiment, tmp_path / "folder")
    with pytest.raises(ConselfError, match="no file of kept samples"):
        make_shared_homes(home, experiment, tmp_path / "other")


@pytest.mark.parametrize(
    "change",
    [
        ("seeds = [4, 5]", "seeds = [4]"),
        ("seeds", "limit = 3\nseeds"),
        (', "held-out"', ""),
        ('problems = "p.jsonl"\n', ""),
        ("training.beta = 0.3", "sampling.top_p = 0.9"),
    ],
)
def test_samples_of_something_else_are_refused(change: tuple[str, str], home: Path, tmp_path: Path) -> None:
    write_samples(home, tmp_path / "kept.jsonl.gz")
    experiment = _experiment(tmp_path, "sampling.temperature = 0.9", change)
    with pytest.raises(ConselfError, match="was sampled with other settings, problems or benchmarks, another limit"):
        make_shared_homes(
            tmp_path / "kept.jsonl.gz", dataclasses.replace(experiment, arms=experiment.arms[2:]), tmp_path / "f"
        )


def test_answers_demand_equal_settings_of_the_evaluation_and_samples_do_not(home: Path, tmp_path: Path) -> None:
    experiment = _experiment(tmp_path, "evaluation.samples = 9, evaluation.ranking_programs = 8")
    experiment = dataclasses.replace(experiment, arms=experiment.arms[:2])
    write_samples(home, tmp_path / "with answers")
    with pytest.raises(ConselfError, match="was sampled with other settings"):
        make_shared_homes(tmp_path / "with answers", experiment, tmp_path / "folder")
    with Store(home / "conself.db") as store:
        store.db.execute("delete from evaluation_samples")
    write_samples(home, tmp_path / "without")
    (target,) = make_shared_homes(tmp_path / "without", experiment, tmp_path / "folder")
    assert target.name == experiment.shared_name(experiment.arms[1], 5)
    both = _experiment(tmp_path, "evaluation.samples = 9")
    assert len(make_shared_homes(tmp_path / "without", both, tmp_path / "both")) == 2, "their answers differ"
