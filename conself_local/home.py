"""Name the places of the home folder (store, adapters, models, training, cache), and lock it for one round.

The folder is private: others on this computer can neither list nor read it. Not covered: the content of the files.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import platformdirs
import psutil

from conself_local.errors import ConselfError
from conself_local.foreign_files import read_text
from conself_local.new_files import create, tighten

_HOME_HINT = "choose another folder with --home DIR"
_LOCK_TEXT = re.compile(r"([1-9][0-9]{0,9}) ([0-9]{1,12}\.[0-9]{1,9})")
"""A process id and the time at which that process was started, in seconds."""
_MAX_LOCK_BYTES = 100
PRESET_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")
"""The name of a preset that the user keeps, which becomes the name of a file."""
_PARTS = ("adapters", "cache", "experiments", "logs", "models", "presets", "training")
_FILES = ("conself.db", "conself.db-wal", "conself.db-shm", "round.lock", "conductor.log", "choices.json", "rates.json")


def user_home() -> Path | None:
    """Return the user's own folder, or None for a user without one (no HOME and no entry in the password file)."""
    try:
        return Path.home()
    except RuntimeError:
        return None


def expand_user(path: Path) -> Path:
    """Return a path with `~` replaced. Raises ConselfError if the user it names has no folder."""
    try:
        return path.expanduser()
    except RuntimeError:
        raise ConselfError(
            f"{path} cannot be found, because the folder of that user is not known", "write it without ~"
        ) from None


class Home:
    """The paths within one home folder, which is created if it does not exist.

    `path` defaults to the system's folder for user data. With `existing`, the folder must hold a store already, and
    nothing is created if it does not. Without `writable`, nothing is created or tried either, and it may be missing.
    Raises ConselfError if the folder cannot be created or written, or if `existing` is set and it holds no store.
    """

    def __init__(self, path: Path | None = None, *, existing: bool = False, writable: bool = True) -> None:
        self.path = expand_user(path).absolute() if path else _default("data")
        if existing and not self.database.is_file():
            raise ConselfError(
                f"the home folder {self.path} holds no data yet",
                "start with `conself run`, or choose another folder with --home DIR",
            )
        if not writable:
            return
        try:
            if not self.path.is_dir():
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self.path.mkdir(mode=0o700, exist_ok=True)
            probe = self.path / f".probe-{os.getpid()}"
            os.close(create(probe))
            probe.unlink()
        except OSError as error:
            raise ConselfError(
                f"the home folder {self.path} cannot be written: {error.strerror}", _HOME_HINT
            ) from error

    def keep_from_others(self) -> bool:
        """Take the folder, and what is kept in it, from all other users; return whether they could read any of it."""
        return tighten(self._own_paths())

    def _own_paths(self) -> Iterator[Path]:
        """Iterate over the folder and all that is kept in it, without following links."""
        yield self.path
        yield from (self.path / name for name in _FILES)
        for part in (self.path / name for name in _PARTS):
            for folder, folders, files in os.walk(part):
                yield from (Path(folder) / name for name in (".", *folders, *files))

    @property
    def database(self) -> Path:
        """The SQLite file of the store; it may not exist yet."""
        return self.path / "conself.db"

    @property
    def logs(self) -> Path:
        """The folder of the logs of rounds, engines, trainers and screens; they hold no prompts and no programs."""
        return self.path / "logs"

    @property
    def cache(self) -> Path:
        """The folder of converted weights and tuning results; it may be deleted at any time."""
        if given := os.environ.get("CONSELF_CACHE"):
            return Path(given)
        return _default("cache") if user_home() else self.path / "cache"

    @property
    def models(self) -> Path:
        """The folder of the models that `conself models get` has fetched."""
        return self.path / "models"

    @property
    def presets(self) -> Path:
        """The folder of the presets that the user keeps, one TOML file each; it may not exist yet."""
        return self.path / "presets"

    def preset_files(self) -> dict[str, Path]:
        """Return the presets that the user keeps, name -> file, sorted; links and files of other names are none."""
        if not self.presets.is_dir():
            return {}
        files = sorted(path for path in self.presets.iterdir() if path.suffix == ".toml" and not path.is_symlink())
        return {path.stem: path for path in files if PRESET_NAME.fullmatch(path.stem) and path.is_file()}

    @property
    def training(self) -> Path:
        """The folder that holds one folder per round that has trained."""
        return self.path / "training"

    def training_folder(self, round_id: int) -> Path:
        """Return the folder of a round's training: checkpoint, reference log-probabilities and the finished adapter."""
        return self.training / f"round-{round_id}"

    @property
    def adapters(self) -> Path:
        """The folder that holds one folder per kept adapter."""
        return self.path / "adapters"

    def adapter_folder(self, name: str) -> Path:
        """Return the folder of one kept adapter, with its PEFT files in `peft/` and its GGUF file."""
        return self.adapters / name

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the lock of the one round that may run in this home.

        The kernel releases the lock when the process ends, however it ends.
        Raises ConselfError if another process holds it, or if the disk has no locks.
        """
        with self._open_lock() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ConselfError(
                    f"another round is running in {self.path} (process {(file.read().split() or ['unknown'])[0]})",
                    "wait until it ends, watch it with `conself status` or `conself tui`, or use another --home",
                ) from None
            except OSError as error:
                raise ConselfError(
                    f"the disk of {self.path} cannot lock files ({error.strerror}), as some network disks",
                    "choose a folder on a disk of this computer with --home DIR",
                ) from error
            file.truncate(0)
            with suppress(OSError):  # a full disk: the lock holds without the text, and `conself prune` needs it
                os.write(file.fileno(), f"{os.getpid()} {psutil.Process().create_time()}".encode())
            try:
                yield
            finally:
                file.truncate(0)

    def running(self) -> psutil.Process | None:
        """Return the process of the round that runs in this home, or None if no round runs.

        The lock is not taken, so that a round may start at the same moment; a process is known by its id and the time
        at which it was started.
        """
        try:
            found = _LOCK_TEXT.fullmatch(read_text(self.path / "round.lock", _MAX_LOCK_BYTES))
            process = psutil.Process(int(found[1])) if found else None
            if process and found and abs(process.create_time() - float(found[2])) < 1:
                return None if process.status() == psutil.STATUS_ZOMBIE else process
        except (OSError, ValueError, psutil.Error):
            return None  # no lock, or a process that has ended
        return None

    def _open_lock(self) -> IO[str]:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        return os.fdopen(os.open(self.path / "round.lock", flags, 0o600), "r+")


def _default(kind: str) -> Path:
    """Return the system's folder for the user's `data` or `cache`. Raises ConselfError if the user has no folder."""
    find = platformdirs.user_data_dir if kind == "data" else platformdirs.user_cache_dir
    try:
        return Path(find("conself-local")).expanduser().absolute()
    except RuntimeError:
        raise ConselfError(
            "this user has no home folder (no HOME, no entry in the password file)", _HOME_HINT
        ) from None
