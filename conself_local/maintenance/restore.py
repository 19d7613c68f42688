"""Restore a backup into a home that has no data yet, all of it or nothing.

The backup may be hostile: the archive is read with limits (`archive.py`), the database must be an undamaged store of
this program, every adapter file must have the hash that the store has for it, and all paths of files that belong to
the home are replaced. The home has its data when the rows are copied into its store, which is the last step and a
transaction. Not covered: whether the rows make sense (`conself verify`).
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from conself_local.errors import ConselfError
from conself_local.foreign_files import refusing
from conself_local.hashes import file_sha256
from conself_local.home import Home
from conself_local.maintenance.archive import (
    ADAPTER_FILES,
    DATABASE,
    PEFT,
    Manifest,
    adapter_file,
    read_archive,
)
from conself_local.maintenance.prune import TEMPORARY
from conself_local.model_files.bundled import BUNDLED_SHA256, bundled_model
from conself_local.model_files.model import ADAPTER_PATHS, has_sha256
from conself_local.store.copying import adopt, copy_into, is_empty, open_copy
from conself_local.store.kept_questions import MINE
from conself_local.store.store import RoundInfo, Row, Store

_FOLDER_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,63}")
_HINT = "restore another backup"


@dataclass(frozen=True)
class Restored:
    """What was restored, and what the user must do before all of it can be used."""

    created_at_utc: str
    rounds: int
    adapters: int
    notes: tuple[str, ...]
    """One sentence for each thing that is not on this computer."""


@dataclass(frozen=True)
class _Adapter:
    """An adapter of the backup, and where it goes."""

    id: int
    name: str
    sha256: str
    form: str
    """A key of `ADAPTER_FILES`."""
    source: Path
    """Its unpacked folder; it does not exist if the backup lacks the adapter's files."""
    target: Path
    """Its folder in the home."""

    @property
    def is_whole(self) -> bool:
        """Whether the backup has its files."""
        return self.source.is_dir()

    @property
    def is_there(self) -> bool:
        """Whether its folder in the home has the same files, as after a restore that was killed."""
        pairs = [(self.target / name, self.source / name) for name in ADAPTER_FILES[self.form]]
        return not self.target.is_symlink() and all(
            there.is_file() and file_sha256(there) == file_sha256(unpacked) for there, unpacked in pairs
        )


def restore_backup(home: Home, path: Path) -> Restored:
    """Restore the backup at `path` into the home, which must have no data.

    Raises ConselfError if the home has data or runs a round, or if the backup cannot be trusted; then nothing changes.
    """
    with home.lock():
        _verify_without_data(home)
        for leftover in home.path.glob(f"{TEMPORARY[1]}*"):  # of a restore that was killed, as this one has the lock
            shutil.rmtree(leftover, ignore_errors=True)
        with tempfile.TemporaryDirectory(prefix=TEMPORARY[1], dir=home.path, ignore_cleanup_errors=True) as name:
            folder = Path(name)
            manifest = read_archive(path, folder)
            with refusing(f"{path} cannot be restored", _HINT), open_copy(folder / DATABASE) as store:
                adapters = _verified_adapters(home, store, manifest, folder)
                paths = {a.id: (a.target / PEFT, a.target / ADAPTER_PATHS[a.form]) for a in adapters}
                adopt(store, paths, lambda old, sha256: _model_path(home, manifest, old, sha256))
                rounds = [store.round(row["id"]) for row in store.rows("select id from rounds order by id")]
            notes = _notes(adapters, rounds)
            whole = [adapter for adapter in adapters if adapter.is_whole]
            with _placed(whole), Store(home.database) as target:
                copy_into(folder / DATABASE, target)
            notes += _place_presets(home, folder / "presets")
    return Restored(manifest.created_at_utc, len(rounds), len(whole), tuple(notes))


def _verify_without_data(home: Home) -> None:
    """Raise ConselfError if the home has a store that holds anything."""
    if home.database.exists():
        with Store(home.database) as store:
            if not is_empty(store):
                raise ConselfError(
                    f"{home.path} has data already", "restore into another folder with --home DIR, which may be new"
                )


def _verified_adapters(home: Home, store: Store, manifest: Manifest, folder: Path) -> list[_Adapter]:
    """Return the adapters of the store with their places in the home.

    Raises ConselfError if a file differs from what the store says, is of no adapter of the store, or if the home has
    another adapter in its place.
    """
    rows = store.rows("select * from adapters order by id")
    names = _folder_names(rows)
    unpacked = folder / "adapters"
    if strange_forms := {str(row["form"])[:50] for row in rows} - ADAPTER_FILES.keys():
        raise ConselfError(f"the backup holds an adapter of the unknown form {min(strange_forms)!r}", _HINT)
    adapters = [
        _Adapter(
            row["id"], row["name"], row["sha256"], row["form"], unpacked / str(row["id"]), home.adapter_folder(name)
        )
        for row, name in zip(rows, names, strict=True)
    ]
    known = {adapter_file(adapter.id, name) for adapter in adapters for name in ADAPTER_FILES[adapter.form]}
    if strange := {name for name in manifest.files if not name.startswith("presets/")} - known - {DATABASE}:
        raise ConselfError(f"the backup holds {min(strange)}, which is of no adapter of its store", _HINT)
    for adapter in adapters:
        if not adapter.is_whole:
            continue
        if any(adapter_file(adapter.id, name) not in manifest.files for name in ADAPTER_FILES[adapter.form]):
            raise ConselfError(f"the backup lacks a file of adapter {adapter.id}", _HINT)
        if not has_sha256(adapter.source / ADAPTER_PATHS[adapter.form], adapter.sha256):
            raise ConselfError(f"the file of adapter {adapter.id} is not the one that the store names", _HINT)
        _verify_place(adapter)
    return adapters


def _folder_names(rows: Sequence[Row]) -> list[str]:
    """Return the name of each adapter's folder in the home: the one that it had, if it is a name and no other's."""
    names: list[str] = []
    for row in rows:
        name = Path(row["path"]).parent.name
        names.append(name if _FOLDER_NAME.fullmatch(name) and name not in names else f"adapter-{row['id']}")
    return names


def _verify_place(adapter: _Adapter) -> None:
    """Raise ConselfError if something else is where the adapter goes."""
    if os.path.lexists(adapter.target) and not adapter.is_there:
        raise ConselfError(f"{adapter.target} is there already", "move it away, or restore into another --home DIR")


@contextmanager
def _placed(adapters: Sequence[_Adapter]) -> Iterator[None]:
    """Move the unpacked adapters to their folders in the home, and back out of it if the block fails."""
    moved: list[_Adapter] = []
    try:
        for adapter in adapters:
            if not adapter.is_there:
                adapter.target.parent.mkdir(exist_ok=True)
                adapter.source.rename(adapter.target)
                moved.append(adapter)
        yield
    except BaseException:
        for adapter in moved:
            adapter.target.rename(adapter.source)
        raise


def _place_presets(home: Home, unpacked: Path) -> list[str]:
    """Move the unpacked presets into the home, and return one sentence for each that the home has another one of."""
    notes = []
    for preset in sorted(unpacked.iterdir()) if unpacked.is_dir() else ():
        target = home.presets / preset.name
        home.presets.mkdir(exist_ok=True)
        if not os.path.lexists(target):
            preset.rename(target)
        elif target.is_symlink() or not target.is_file() or file_sha256(target) != file_sha256(preset):
            notes.append(f"the home keeps its own preset {preset.stem}, which differs from that of the backup")
    return notes


def _model_path(home: Home, manifest: Manifest, old: str, sha256: str) -> str | None:
    """Return where the model is now; None to keep its path."""
    candidates = [Path(old)]
    if Path(old).is_relative_to(manifest.home):
        candidates.insert(0, home.path / Path(old).relative_to(manifest.home))
    if sha256 == BUNDLED_SHA256 and not any(path.exists() for path in candidates):
        try:
            return str(bundled_model())
        except ConselfError:
            return None  # the notes name what is missing
    return str(next((path for path in candidates if path.exists()), candidates[0]))


def _notes(adapters: Sequence[_Adapter], rounds: Sequence[RoundInfo]) -> list[str]:
    """Return what is not on this computer, in sentences."""
    notes = [f"the backup has no files of the adapter {a.name}" for a in adapters if not a.is_whole]
    for path in sorted({round_.model_path for round_ in rounds if not round_.model_path.exists()}):
        notes.append(f"the model {path} is not on this computer: put it there before you use its rounds and adapters")
    for round_ in rounds:
        problems = round_.request.get("problems")
        if round_.state == "running" and problems not in (None, MINE) and not Path(problems).is_file():
            notes.append(f"the problems file {problems} is not on this computer: put it there to continue the round")
    return notes
