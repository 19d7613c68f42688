"""Measure what the parts of a home take on the disk, and what is free there. Nothing is changed."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from conself_local.home import Home
from conself_local.model_files.converted_weights import list_converted


@dataclass(frozen=True, kw_only=True)
class HomeSizes:
    """What a home takes on the disk, in bytes."""

    store: int
    """The database with its log."""
    adapters: int
    training_folders: int
    """Checkpoints and other files of trainings."""
    converted_weights: int
    """In the cache, which homes share."""
    fetched_models: int
    experiments: int
    """Homes of the arms of experiments."""
    free: int
    """Free space on the disk of the home."""


def measure_home(home: Home) -> HomeSizes:
    """Return the sizes of the home's parts; a part that does not exist has 0 bytes."""
    return HomeSizes(
        store=files_bytes(store_files(home)),
        adapters=tree_bytes(home.adapters),
        training_folders=tree_bytes(home.training),
        converted_weights=files_bytes(path for paths in list_converted(home.cache) for path in paths),
        fetched_models=tree_bytes(home.models),
        experiments=tree_bytes(home.path / "experiments"),
        free=shutil.disk_usage(home.path).free,
    )


def store_files(home: Home) -> list[Path]:
    """Return the files of the database: the database itself, its log, and the log's index."""
    return [home.database.with_name(home.database.name + ending) for ending in ("", "-wal", "-shm")]


def tree_bytes(path: Path) -> int:
    """Return the size of a file, or of all files in a folder; links count as what they are, not what they lead to."""
    if not path.is_dir():
        return files_bytes([path])
    return sum(files_bytes(Path(folder) / name for name in files) for folder, _, files in os.walk(path))


def files_bytes(paths: Iterable[Path]) -> int:
    """Return the size of all files together; those that are not there, or are removed in the meantime, count 0."""
    total = 0
    for path in paths:
        with contextlib.suppress(OSError):
            total += path.lstat().st_size
    return total


def newest_change(path: Path) -> float:
    """Return when a file, or anything in a folder, was last changed, in seconds since the epoch; 0 if it is gone."""
    newest = 0.0
    for folder, folders, files in os.walk(path):
        for name in (*folders, *files):
            with contextlib.suppress(OSError):
                newest = max(newest, (Path(folder) / name).lstat().st_mtime)
    with contextlib.suppress(OSError):
        newest = max(newest, path.lstat().st_mtime)
    return newest
