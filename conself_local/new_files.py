"""Make new files: private ones in the home, and whole ones where the user wants them.

A name that can be foreseen can be a link that somebody put there; so new files get names that cannot, and replace their
target when they are complete. Not covered: reading (`foreign_files.py`).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from conself_local.errors import ConselfError

PRIVATE = 0o077
"""The permissions that files of the home never have: those of the group and of all others."""
_umask: int | None = None


def keep_private() -> None:
    """Let everything that this process and its children make be readable by the user only; call it first."""
    global _umask
    before = os.umask(PRIVATE)
    _umask = before if _umask is None else _umask


def give_away(path: Path) -> None:
    """Give a file or a folder with its content the permissions of what the user makes; it left the home."""
    allowed = ~(PRIVATE if _umask is None else _umask)
    for one in [path, *(path.rglob("*") if path.is_dir() else ())]:
        if not one.is_symlink():
            one.chmod((0o777 if one.is_dir() else 0o666) & allowed)


def verify_new(path: Path) -> None:
    """Check that nothing is at `path`, not even a link that leads nowhere. Raises ConselfError if something is."""
    if os.path.lexists(path):
        raise ConselfError(f"{path} already exists", "give another path")


def create(path: Path) -> int:
    """Return the descriptor of a new, private, empty file, which replaces what was at `path`; links are not followed.

    Raises OSError.
    """
    path.unlink(missing_ok=True)
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


def replace_private(target: Path, text: str) -> None:
    """Write a file that only the user can read; it replaces the one at `target` when it is complete. Raises OSError."""
    part = target.with_suffix(".part")
    with os.fdopen(create(part), "w", encoding="utf-8") as file:
        file.write(text)
    part.replace(target)


def _make_part(target: Path) -> Path:
    """Return a new, private, empty file in the folder of `target`, which is made if it does not exist."""
    target.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{target.name[:100]}.", dir=target.parent)
    os.close(descriptor)
    return Path(name)


@contextmanager
def whole_file(target: Path, *, replace: bool = True) -> Iterator[Path]:
    """Yield the path of a new file in the folder of `target`; it replaces `target` if the block succeeds.

    Without `replace`, a file that appears at `target` meanwhile stays, and ConselfError is raised. The new file has the
    permissions of what the user makes. Raises OSError if the folder cannot be written.
    """
    part = _make_part(target)
    try:
        yield part
        give_away(part)
        if not replace:
            verify_new(target)
            with contextlib.suppress(OSError):  # some file systems have no hard links, which never replace a file
                target.hardlink_to(part)
                part.unlink()
                return
            verify_new(target)
        part.replace(target)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


@contextmanager
def new_private_file(target: Path) -> Iterator[Path]:
    """Yield the path of a new file in the folder of `target`, which must not exist; it gets that name at the end.

    Only the user can read it. Raises ConselfError if something is at `target`, at the beginning or at the end, and
    OSError if the folder cannot be written.
    """
    verify_new(target)
    part = _make_part(target)
    try:
        yield part
        try:
            os.link(part, target)  # fails if the name is taken by now
        except FileExistsError:
            verify_new(target)
            raise
        except OSError:  # a disk without hard links, as most USB sticks
            verify_new(target)
            part.rename(target)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """Yield the path of a new folder beside `target`, which gets that name if the block succeeds. Raises OSError."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".{target.name[:100]}.", dir=target.parent))
    try:
        yield part
        part.rename(target)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise


def tighten(paths: Iterator[Path]) -> bool:
    """Take the permissions of others from the user's own files and folders; return whether any had some."""
    found = False
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            status = path.lstat()
            is_own = status.st_uid == os.getuid() and stat.S_IFMT(status.st_mode) in (stat.S_IFREG, stat.S_IFDIR)
            if is_own and status.st_mode & PRIVATE:
                path.chmod(stat.S_IMODE(status.st_mode) & ~PRIVATE)
                found = True
    return found
