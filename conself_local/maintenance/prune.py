"""Find what a home keeps that nothing needs any more, and remove it.

Never removed: what a round that can be continued needs, adapters of the store, weights that a process samples from,
and whatever `conself verify`, `status` and `export` read. Files go before rows, because rows need free space to be
removed. Every step can be killed: what is left is found again.
Not covered: fetched models, and the homes of experiments, which are pruned one by one.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from conself_local.errors import ConselfError
from conself_local.home import Home
from conself_local.machine.mapped_files import mapped_files
from conself_local.machine.room import size_text
from conself_local.maintenance.disk import files_bytes, newest_change, store_files, tree_bytes
from conself_local.maintenance.kinds import IN_STORE, Kind
from conself_local.model_files.converted_weights import is_converted_from, list_converted, list_unfinished_merges
from conself_local.store import pruning
from conself_local.store.store import Store

TEMPORARY = (".backup-", ".restore-")
"""How the names of folders begin in which `backup.py` and `restore.py` work."""
_IDLE_SECONDS = 3600.0
"""A leftover without the number of its process may belong to a command at work until it is that old."""
_TRAINING_NAME = re.compile(r"round-([1-9][0-9]{0,8})")


@dataclass(frozen=True)
class Prunable:
    """One kind of data that nothing needs."""

    kind: Kind
    size_bytes: int
    """Exact for files, about right for rows of the store."""
    what: str
    """What it is and what its removal means, in a phrase for people."""
    paths: tuple[Path, ...] = ()
    rounds: tuple[int, ...] = ()

    @property
    def is_something(self) -> bool:
        """Whether there is anything to remove; an empty folder has no bytes."""
        return bool(self.size_bytes or self.paths)


def find_prunable(store: Store, home: Home) -> list[Prunable]:
    """Return every kind, in the order of `KINDS`; one of 0 bytes has nothing to remove. Nothing is changed."""
    training, weights, leftovers = _training_folders(store, home), _weights(store, home), tuple(_leftovers(store, home))
    rounds = tuple(pruning.removable_rounds(store))
    numbers = ", ".join(map(str, rounds))
    return [
        Prunable(
            "training",
            _bytes_of(training),
            f"checkpoints of trainings that have ended or will not be continued: {len(training)}",
            training,
        ),
        Prunable(
            "weights",
            _bytes_of(weights),
            f"converted weights, which sampling makes again if it needs them: {len(weights)}",
            weights,
        ),
        Prunable(
            "leftovers",
            _bytes_of(leftovers),
            f"unfinished files and folders that nothing uses: {len(leftovers)}",
            leftovers,
        ),
        Prunable(
            "rounds",
            pruning.rounds_bytes(store, rounds),
            f"samples and scores of abandoned rounds: {numbers or 'none'}",
            rounds=rounds,
        ),
        Prunable("tokens", pruning.unpaired_token_bytes(store, rounds), "token ids of samples that no pair needs"),
        Prunable("unused", pruning.unused_bytes(store), "unused space inside the database"),
    ]


def prune(store: Store, home: Home, found: Collection[Prunable]) -> int:
    """Remove what `find_prunable` found and return the number of bytes that the files of the home are smaller by.

    The caller holds the lock of the home. Raises ConselfError if the disk is too full to make the database smaller;
    then the files have been removed, and the rows have not.
    """
    freed = 0
    for one in found:
        for path in one.paths:
            freed += tree_bytes(path)
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
    in_store = {one.kind: one for one in found if one.kind in IN_STORE and one.size_bytes}
    if in_store:
        before = files_bytes(store_files(home))
        _verify_room(store, home, freed)
        if "rounds" in in_store:
            pruning.empty_rounds(store, in_store["rounds"].rounds)
            pruning.write_back(store)
        if "tokens" in in_store:
            pruning.remove_token_ids(store)
        pruning.make_file_smaller(store)
        freed += max(0, before - files_bytes(store_files(home)))
    return freed


def _training_folders(store: Store, home: Home) -> tuple[Path, ...]:
    """Return the training folders of rounds that cannot be continued."""
    running = {row["id"] for row in store.rows("select id from rounds where state = 'running'")}
    rows = store.rows("select peft_path, path from adapters")
    kept = {parent for row in rows for name in row.values() for parent in Path(name).parents}
    return tuple(
        path
        for path in _entries(home.training)
        if (match := _TRAINING_NAME.fullmatch(path.name)) and int(match[1]) not in running and path not in kept
    )


def _weights(store: Store, home: Home) -> tuple[Path, ...]:
    """Return the converted weights that neither an unfinished round nor a process needs."""
    converted, _ = list_converted(home.cache)
    models = [row["model_sha256"] for row in store.rows("select model_sha256 from rounds where state = 'running'")]
    unneeded = [path for path in converted if not any(is_converted_from(path, sha256) for sha256 in models)]
    in_use = mapped_files(unneeded)
    return tuple(path for path in unneeded if path not in in_use)


def _leftovers(store: Store, home: Home) -> Iterator[Path]:
    """Yield files and folders that a killed command has left: unfinished ones, and adapters that are not stored."""
    yield from list_converted(home.cache)[1]
    # by the names of their folders, because a home that was moved has other paths
    rows = store.rows("select peft_path, path from adapters")
    stored = {Path(name).parent.name for row in rows for name in row.values()}
    candidates = [
        *(p for p in _entries(home.path) if p.name.startswith((".probe-", *TEMPORARY)) or p.name == "conself.db.part"),
        *(p for p in _entries(home.adapters) if p.name not in stored),
        *(p for p in _entries(home.training) if p.name.startswith("pairs-")),  # removed when its adapter is stored
        *list_unfinished_merges(home.cache),
        *(p for p in home.models.rglob("*.incomplete") if p.is_file() and not p.is_symlink()),
    ]
    yield from (path for path in candidates if time.time() - newest_change(path) > _IDLE_SECONDS)


def _entries(folder: Path) -> list[Path]:
    """Return what is in a folder that may not exist, without links."""
    return sorted(path for path in folder.iterdir() if not path.is_symlink()) if folder.is_dir() else []


def _bytes_of(paths: Collection[Path]) -> int:
    return sum(tree_bytes(path) for path in paths)


def _verify_room(store: Store, home: Home, freed: int) -> None:
    """Raise ConselfError if a disk has too little space for what the database needs while it is made smaller."""
    needed = pruning.live_bytes(store)
    temporary = _sqlite_temporary_folder()
    is_same_disk = temporary.stat().st_dev == home.path.stat().st_dev
    for folder, wanted in ((home.path, needed * (2 if is_same_disk else 1)), (temporary, needed)):
        free = shutil.disk_usage(folder).free
        if free < wanted:
            done = f"files of {size_text(freed)} were removed, but " if freed else ""
            raise ConselfError(
                f"{done}the database cannot be made smaller: this needs {size_text(wanted)} for a moment on the disk "
                f"of {folder}, and {size_text(free)} are free",
                "make room there, or write a backup to another disk (conself backup FILE) and restore it there",
            )


def _sqlite_temporary_folder() -> Path:
    """Return the folder in which SQLite makes its temporary files. Source: `unixTempFileDir` in SQLite's os_unix.c."""
    given = [os.environ.get(name) for name in ("SQLITE_TMPDIR", "TMPDIR")]
    for name in (*given, "/var/tmp", "/usr/tmp", "/tmp"):
        if name and Path(name).is_dir() and os.access(name, os.W_OK | os.X_OK):
            return Path(name)
    return Path(tempfile.gettempdir())
