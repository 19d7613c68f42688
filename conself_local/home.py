"""Name the places of the home folder (store, adapters, models, training, cache), and lock it for one round.

Not covered: the content of the files there.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import platformdirs

from conself_local.errors import ConselfError


class Home:
    """The paths within one home folder, which is created if it does not exist.

    `path` defaults to the system's folder for user data. With `existing`, the folder must hold a store already, and
    nothing is created if it does not.
    Raises ConselfError if the folder cannot be created or written, or if `existing` is set and it holds no store.
    """

    def __init__(self, path: Path | None = None, *, existing: bool = False) -> None:
        self.path = (path or Path(platformdirs.user_data_dir("conself-local"))).expanduser().absolute()
        if existing and not self.database.is_file():
            raise ConselfError(
                f"the home folder {self.path} holds no data yet",
                "start with `conself run`, or choose another folder with --home DIR",
            )
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            probe = self.path / f".probe-{os.getpid()}"
            probe.write_bytes(b"x")
            probe.unlink()
        except OSError as error:
            raise ConselfError(
                f"the home folder {self.path} cannot be written: {error.strerror}",
                "choose another folder with --home DIR",
            ) from error

    @property
    def database(self) -> Path:
        """The SQLite file of the store; it may not exist yet."""
        return self.path / "conself.db"

    @property
    def cache(self) -> Path:
        """The folder of converted weights and tuning results; it may be deleted at any time."""
        return Path(os.environ.get("CONSELF_CACHE") or platformdirs.user_cache_dir("conself-local"))

    @property
    def models(self) -> Path:
        """The folder of the models that `conself models get` has fetched."""
        return self.path / "models"

    def training_folder(self, round_id: int) -> Path:
        """Return the folder of a round's training: checkpoint, reference log-probabilities and the finished adapter."""
        return self.path / "training" / f"round-{round_id}"

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
        Raises ConselfError if another process holds it.
        """
        with (self.path / "round.lock").open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                file.seek(0)
                raise ConselfError(
                    f"another round is running in {self.path} (process {file.read().strip() or 'unknown'})",
                    "wait until it ends, watch it with `conself status` or `conself tui`, or use another --home",
                ) from None
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            yield
