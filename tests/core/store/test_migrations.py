"""A store of an older version is migrated, and loses nothing."""

from __future__ import annotations

from pathlib import Path

from sqlite_utils import Database

from conself_local.store.migrations import migrations
from conself_local.store.store import Store


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
