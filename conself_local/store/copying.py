"""Copy a store as a whole: out of a home while a round writes to it, and into a home that has no data yet.

A copy from elsewhere may be hostile: it must pass `identity.py`, be undamaged, and have no path of its own choice
where this program deletes or writes. Not covered: files beside the database (`maintenance/`).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

from sqlite_utils import Database

from conself_local.errors import ConselfError
from conself_local.store.migrations import migrations
from conself_local.store.store import Store

_MAX_VALUE_BYTES = 2**27
"""The largest value that a copy from elsewhere may hold or compute; those of a round are far smaller."""

_PRECIOUS = ("rounds", "adapters", "problems", "kept_questions", "user_answers")
"""Tables whose rows would be lost if a copy replaced them."""


def copy_store(store: Store, target: Path) -> None:
    """Write the store as it is at this moment to the new file `target`, while other processes may write to it.

    All pages are copied in one step, which reads one state and makes no writer wait.
    """
    with closing(sqlite3.connect(target)) as copy:
        store.db.conn.backup(copy)
        copy.execute("pragma journal_mode = delete")  # one file, without a log beside it


def copy_into(source: Path, target: Store) -> None:
    """Copy all rows of the store at `source` into `target`, in one transaction; other processes may have it open.

    Only values are copied; computed columns, checks and indices of a hostile copy are not. Raises ConselfError if the
    target holds data.
    """
    target.db.execute("attach ? as copied", [str(source)])
    target.db.execute("pragma foreign_keys = off")  # tables point to each other; `conself verify` checks
    try:
        with target.transaction():
            if not is_empty(target):
                raise ConselfError("the home has data already", "restore into another folder with --home DIR")
            for table, columns in _own_columns().items():
                names = ", ".join(f"[{name}]" for name in columns)
                target.db.execute(
                    f"insert into main.[{table}] ({names}) select {names} from copied.[{table}] order by rowid"
                )
    finally:
        target.db.execute("pragma foreign_keys = on")
        target.db.execute("detach copied")
    target.rows("pragma wal_checkpoint(truncate)")


def _own_columns() -> dict[str, list[str]]:
    """Return the columns of every table that a new store has, without that of migrations."""
    new = Database(memory=True)
    migrations.apply(new)
    return {
        name: list(new.table(name).columns_dict) for name in new.table_names() if name != migrations.migrations_table
    }


def is_empty(store: Store) -> bool:
    """Return whether the store holds nothing that could be lost."""
    return not any(store.value(f"select 1 from {table}") for table in _PRECIOUS)


@contextmanager
def open_copy(path: Path) -> Iterator[Store]:
    """Open a copy that may be hostile. Raises ConselfError if it is no store of this program, or is damaged."""
    try:
        with Store(path) as store:
            store.db.conn.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _MAX_VALUE_BYTES)
            found = store.value("pragma quick_check(1)")
            if found != "ok":
                raise sqlite3.DatabaseError(found)
            for table, columns in _own_columns().items():
                if lacking := set(columns) - {row["name"] for row in store.rows(f"pragma table_info([{table}])")}:
                    raise sqlite3.DatabaseError(f"{table} has no column {min(lacking)}")
            yield store
    except sqlite3.DatabaseError as error:
        raise ConselfError(
            f"the database of the backup is damaged: {str(error)[:200]}", "restore another backup"
        ) from error


def adopt(
    store: Store, adapter_paths: Mapping[int, tuple[Path, Path]], model_path: Callable[[str, str], str | None]
) -> None:
    """Let the store name the files of its new home.

    adapter_paths: id of every adapter -> PEFT folder, and GGUF file or mlx-lm folder. model_path: (stored path, sha256)
    -> new path or None to keep it. Steps of a training that must begin again are removed.
    """
    with store.transaction():
        for adapter_id, (peft, path) in adapter_paths.items():
            store.db.table("adapters").update(adapter_id, {"peft_path": str(peft), "path": str(path)})
        for table in ("rounds", "adapters"):
            for row in store.rows(
                f"select distinct model_path, model_sha256 from {table} where model_path is not null"
            ):
                if new := model_path(row["model_path"], row["model_sha256"]):
                    store.db.execute(
                        f"update {table} set model_path = ? where model_path = ? and model_sha256 = ?",
                        [new, row["model_path"], row["model_sha256"]],
                    )
        store.db.execute(
            """delete from training_steps where round_id in (select id from rounds where state = 'running')
               and round_id not in (select round_id from adapters)"""
        )
