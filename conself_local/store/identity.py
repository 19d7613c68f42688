"""Decide whether a file is a store of this program, before anything is written to it.

A file in the home may be another program's database, a store of a newer version, or made to run something: a view, a
trigger or a virtual table of it would act on our own statements. Such a file is refused and left as it is.
Not covered: whether the rows make sense (`round/verify.py`).
"""

from __future__ import annotations

import os
import sqlite3
import stat
from pathlib import Path
from urllib.parse import quote

from conself_local.errors import ConselfError
from conself_local.store.migrations import migrations

APPLICATION_ID = int.from_bytes(b"CoSf")
"""What SQLite keeps in the file's header, so that `file` and this program know whose database it is."""
_OWN_TABLES = {"problems", "rounds", "samples", "programs", "pairs"}
_OTHER_HOME = "choose another folder with --home DIR; the file was left as it is"


def verify_store_file(path: Path, *, alone: bool = False) -> None:
    """Check that `path` is a store of this program or of an earlier version, or make a new private file there.

    alone: as for `Store`; reading needs no free disk space then. Raises ConselfError if it is anything else, OSError or
    sqlite3.DatabaseError if it cannot be read.
    """
    if not path.exists():
        os.close(os.open(path, os.O_CREAT | os.O_NOFOLLOW | os.O_RDWR, 0o600))
    # the file is not opened here: closing it would drop the locks of all connections of this process (POSIX)
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise OSError(0, "it is not a regular file", str(path))
    if not status.st_size:
        return  # SQLite has not written to it yet
    connection = sqlite3.connect(f"file:{quote(str(path))}?mode={'rw' if alone else 'ro'}", uri=True)
    try:
        if alone:
            connection.execute("pragma locking_mode = exclusive")
        _verify(path, connection)
    finally:
        connection.close()


def _verify(path: Path, connection: sqlite3.Connection) -> None:
    connection.row_factory = sqlite3.Row
    connection.execute("pragma trusted_schema = off")
    application_id = connection.execute("pragma application_id").fetchone()["application_id"]
    objects = connection.execute("select type, name, sql, rootpage from sqlite_master").fetchall()
    # a process that was killed while it made the store, or is making it now, has made the table of migrations first
    tables = {row["name"] for row in objects if row["type"] == "table"} - {migrations.migrations_table}
    if application_id not in (0, APPLICATION_ID) or (tables and not tables >= _OWN_TABLES):
        raise ConselfError(f"{path} is the database of another program", _OTHER_HOME)
    for row in objects:
        # a virtual table has no page of its own, however its statement is written
        if row["type"] not in ("table", "index") or not row["rootpage"]:
            what, name = str(row["type"])[:100], str(row["name"])[:100]
            raise ConselfError(f"{path} has a {what} that this program does not make: {name}", _OTHER_HOME)
    if any(row["name"] == migrations.migrations_table for row in objects):
        query = f"select name from {migrations.migrations_table} where migration_set = ?"
        applied = {row["name"] for row in connection.execute(query, [migrations.name])}
        if applied - {known.name for known in migrations._migrations}:
            raise ConselfError(
                f"{path} was written by a newer version of this program",
                "update it: pip install --upgrade conself-local; or choose another folder with --home DIR",
            )
