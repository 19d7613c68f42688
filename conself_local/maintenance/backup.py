"""Write a backup of a home into one file: the store as it is at this moment, its adapters and the user's presets.

A round may run meanwhile. Not in the file: models, converted weights, logs, checkpoints of a training (it begins again
after a restore), and the homes of experiments.
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from conself_local.errors import ConselfError
from conself_local.home import Home
from conself_local.machine.room import verify_disk
from conself_local.maintenance.archive import (
    ADAPTER_FILES,
    DATABASE,
    PEFT,
    adapter_file,
    preset_file,
    write_archive,
)
from conself_local.maintenance.disk import files_bytes, store_files
from conself_local.maintenance.prune import TEMPORARY
from conself_local.model_files.model import ADAPTER_PATHS, has_sha256
from conself_local.new_files import new_private_file
from conself_local.store.copying import copy_store
from conself_local.store.store import Row, Store, now_utc


@dataclass(frozen=True)
class Backup:
    """What a backup file holds."""

    size_bytes: int
    rounds: int
    adapters: int
    missing: tuple[str, ...]
    """Names of adapters whose files are missing or have changed, and so are not in the backup."""


def write_backup(store: Store, home: Home, target: Path) -> Backup:
    """Write the new file `target`, which only the user can read; it appears only when it is complete.

    Raises ConselfError if something is at `target` or a file changes meanwhile, OSError if the disk is full.
    """
    with new_private_file(target) as part, tempfile.TemporaryDirectory(
        prefix=TEMPORARY[0], dir=_roomy_folder(home, target), ignore_cleanup_errors=True
    ) as folder:  # fmt: skip
        copy = Path(folder) / DATABASE
        copy_store(store, copy)
        with Store(copy) as copied:
            rows = copied.rows("select * from adapters order by id")
            rounds = int(copied.value("select count(*) from rounds"))
        files, missing = {DATABASE: copy}, []
        for name, preset in home.preset_files().items():
            files[preset_file(name)] = preset
        for row in rows:
            found = _adapter_files(home, row)
            files |= found
            if not found:
                missing.append(str(row["name"]))
        try:
            write_archive(part, home=home.path, created_at_utc=now_utc(), files=files)
        except (ValueError, FileNotFoundError) as error:
            raise ConselfError(
                "a file of an adapter changed while it was copied", "run the command again; nothing was written"
            ) from error
        size = part.stat().st_size
    return Backup(size, rounds, len(rows) - len(missing), tuple(missing))


def _adapter_files(home: Home, row: Row) -> dict[str, Path]:
    """Return the files of an adapter by their names in the archive; none if they are missing or have changed.

    In a home that was moved they are not where the store has them, but in the folder of the same name.
    """
    loaded = ADAPTER_PATHS[row["form"]]
    moved = home.adapters / Path(row["path"]).parent.name
    for own, peft in ((Path(row["path"]), Path(row["peft_path"])), (moved / loaded, moved / PEFT)):
        places = {loaded: own, PEFT: peft}
        files = {
            name: places[name] if name in places else places[Path(name).parent.name] / Path(name).name
            for name in ADAPTER_FILES[row["form"]]
        }
        if all(path.is_file() for path in files.values()) and has_sha256(own, row["sha256"]):
            return {adapter_file(row["id"], name): path for name, path in files.items()}
    return {}


def _roomy_folder(home: Home, target: Path) -> Path:
    """Return where to copy the store to: the home, or the folder of the backup if the home's disk is too full.

    Raises ConselfError if both are too full.
    """
    needed = files_bytes(store_files(home))
    folder = home.path if shutil.disk_usage(home.path).free > 2 * needed else target.absolute().parent
    verify_disk(folder, "a backup", needed)
    return folder
