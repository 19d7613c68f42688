"""The home folder: where the store, the adapters and the cache lie, and the lock that one round holds."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import platformdirs

from conself_local.errors import ConselfError


class Home:
    """Raises ConselfError where the folder cannot be made or written, or has no store although it must be an `existing` home."""

    def __init__(self, path: Path | None = None, *, existing: bool = False) -> None:
        self.path = (path or Path(platformdirs.user_data_dir("conself-local"))).expanduser().absolute()
        if existing and not self.database.is_file():
            raise ConselfError(
                f"there is nothing yet in the home {self.path}",
                "begin with `conself run`, or name another with --home DIR",
            )
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            probe = self.path / f".probe-{os.getpid()}"
            probe.write_bytes(b"x")
            probe.unlink()
        except OSError as error:
            raise ConselfError(
                f"the home folder {self.path} cannot be written: {error.strerror}", "choose another with --home DIR"
            ) from error

    @property
    def database(self) -> Path:
        return self.path / "conself.db"

    @property
    def cache(self) -> Path:
        """Running copies of models; may be deleted at any time."""
        return Path(os.environ.get("CONSELF_CACHE") or platformdirs.user_cache_dir("conself-local"))

    @property
    def models(self) -> Path:
        """Models that `conself models get` has fetched."""
        return self.path / "models"

    def training_folder(self, round_id: int) -> Path:
        return self.path / "training" / f"round-{round_id}"

    @property
    def adapters(self) -> Path:
        return self.path / "adapters"

    def adapter_folder(self, name: str) -> Path:
        return self.adapters / name

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Held by the one round that may run in this home; the kernel frees it when the process ends, however it ends."""
        with (self.path / "round.lock").open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                file.seek(0)
                raise ConselfError(
                    f"another round is running in {self.path} (process {file.read().strip() or 'unknown'})",
                    "wait for it, watch it with `conself status` or `conself tui`, or use another --home",
                ) from None
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            yield
