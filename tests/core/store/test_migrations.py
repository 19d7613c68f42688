"""A store of an older version is migrated, and loses nothing."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from sqlite_utils import Database

from conself_local.store.migrations import migrations
from conself_local.store.store import Store
from tests.fakes.home_of_rounds import REAL_ROUND


def test_adapters_of_an_older_store_name_the_model_of_their_round(tmp_path: Path) -> None:
    path = tmp_path / "conself.db"
    db = Database(path)
    migrations.apply(db, stop_before="0002_adapters_name_their_model")
    db.table("rounds").insert(
        {
            "id": 1,
            "seed": 0,
            "settings": "{}",
            "model_path": "/m.gguf",
            "model_sha256": "abc",
            "template_hash": "t",
            "base_adapter_id": None,
            "versions": "{}",
            "request": "{}",
            "state": "done",
            "created_at_utc": "now",
        }
    )
    db.table("adapters").insert(
        {
            "id": 1,
            "name": "round-1",
            "round_id": 1,
            "parent_id": None,
            "peft_path": "p",
            "gguf_path": "g",
            "gguf_sha256": "s",
            "state": "accepted",
            "created_at_utc": "now",
        }
    )
    db.close()
    with Store(path) as store:
        row = store.adapter(1)
    assert (row["model_path"], row["model_sha256"], row["name"], row["state"]) == (
        "/m.gguf",
        "abc",
        "round-1",
        "accepted",
    )
    assert (row["path"], row["sha256"], row["form"]) == ("g", "s", "gguf"), (
        "an adapter of an older store is a GGUF file"
    )


def test_samples_and_adapters_of_an_older_store_get_empty_columns(tmp_path: Path) -> None:
    path = tmp_path / "conself.db"
    db = Database(path)
    migrations.apply(db, stop_before="0008_likelihood_and_origin")
    assert "plain_logp" not in db.table("samples").columns_dict
    db.close()
    with Store(path) as store:
        assert "plain_logp" in store.db.table("samples").columns_dict
        assert "origin" in store.db.table("adapters").columns_dict


def test_a_store_that_was_begun_is_finished(tmp_path: Path) -> None:
    """A process may be killed after it made the table of migrations and before it made the others."""
    db = Database(tmp_path / "conself.db")
    migrations.ensure_migrations_table(db)
    db.close()
    with Store(tmp_path / "conself.db") as store:
        assert store.latest_round() is None


@pytest.mark.round
def test_processes_that_make_a_store_at_the_same_time_all_get_it(tmp_path: Path) -> None:
    code = "import sys\nfrom pathlib import Path\nfrom conself_local.store.store import Store\nStore(Path(sys.argv[1])).close()\n"
    for number in range(4):
        path = str(tmp_path / f"{number}.db")
        processes = [subprocess.Popen([sys.executable, "-c", code, path], stderr=subprocess.PIPE) for _ in range(4)]
        assert [process.wait(60) for process in processes] == [0, 0, 0, 0], [
            p.stderr and p.stderr.read() for p in processes
        ]


def test_opening_a_store_again_keeps_the_locks_of_the_first_connection(tmp_path: Path) -> None:
    path = tmp_path / "conself.db"
    with Store(path) as first:
        first.db.execute("begin immediate")
        Store(path).close()
        code = "import sqlite3, sys\nc = sqlite3.connect(sys.argv[1], timeout=0.1)\nc.execute('begin immediate')\n"
        other = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False)
        assert "locked" in other.stderr, other.stderr


def test_answers_of_an_older_store_have_no_address(tmp_path: Path) -> None:
    path = tmp_path / "conself.db"
    db = Database(path)
    migrations.apply(db, stop_before="0009_answers_have_addresses")
    row = {"id": "1/held-out/base/p/-1", "round_id": 1, "benchmark": "held-out", "arm": "base", "problem_id": "p"}
    content = {"mode": "greedy", "number": -1, "text": "x", "finish": "fence", "tokens": 3, "seed": 5}
    db.table("evaluation_samples").insert(row | content)
    db.close()
    with Store(path) as store:
        (found,) = store.rows("select * from evaluation_samples")
        assert store.rows("select * from answer_scores") == []
    assert (found["text"], found["tokens"], found["answer_id"], found["token_ids"]) == ("x", 3, None, None)


def test_scores_of_an_older_store_belong_to_the_round_of_their_sample(tmp_path: Path) -> None:
    path = tmp_path / "conself.db"
    shutil.copy(REAL_ROUND, path)
    old = Database(path)
    rows = list(old.query("select sample_id, cluster, consensus from sample_scores order by sample_id"))
    old.close()
    with Store(path) as store:
        found = store.rows("select * from sample_scores order by sample_id")
        assert found == [{"round_id": 1, **row} for row in rows] != []
        assert store.rows("pragma foreign_key_check") == []
