"""Write and read the one file of a backup: a tar archive, packed with gzip, whose first member lists all others.

The reader takes only what the writer makes: plain files under known names, in the listed order, each with the listed
size and sha256. It unpacks nothing else, so links, devices, absolute paths and `..` do not occur, and it reads one
header of 512 bytes at a time, so that a hostile archive cannot fill the memory. Not covered: what the files mean.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import tarfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from io import BufferedIOBase, BytesIO
from pathlib import Path
from typing import Any, BinaryIO

from conself_local.errors import ConselfError
from conself_local.foreign_files import open_regular, refusing
from conself_local.home import PRESET_NAME
from conself_local.machine.room import verify_disk
from conself_local.model_files.mlx_adapter import MLX_ADAPTER_FILES
from conself_local.model_files.model import ADAPTER_PATHS
from conself_local.new_files import create

DATABASE = "conself.db"
PEFT = "peft"
_PEFT_FILES = (f"{PEFT}/adapter_config.json", f"{PEFT}/adapter_model.safetensors")
ADAPTER_FILES: Mapping[str, tuple[str, ...]] = {
    "gguf": (ADAPTER_PATHS["gguf"], *_PEFT_FILES),
    "mlx": (*(f"{ADAPTER_PATHS['mlx']}/{name}" for name in MLX_ADAPTER_FILES), *_PEFT_FILES),
}
"""Form of an adapter -> its files, below the adapter's folder."""
_ALL_FILES = sorted({name for names in ADAPTER_FILES.values() for name in names})
_MANIFEST = "backup.json"
_FORMAT = 1
_NAME = re.compile(
    rf"{re.escape(DATABASE)}|presets/{PRESET_NAME.pattern}\.toml"
    rf"|adapters/[1-9][0-9]{{0,8}}/({'|'.join(map(re.escape, _ALL_FILES))})"
)
_SHA256 = re.compile(r"[0-9a-f]{64}")
_MAX_FILES = 10_000
_MAX_MANIFEST_BYTES = 4 * 2**20
_FREE_RATIO_BYTES = 16 * 2**20
_MAX_RATIO = 200
"""A file of more than `_FREE_RATIO_BYTES` unpacked may be at most this many times as large unpacked as packed."""
_MAX_END_BYTES = 2**20
"""Zero bytes after the last member."""
_CHUNK_BYTES = 2**20
_HINT = "give a file that `conself backup` has written"


@dataclass(frozen=True)
class Manifest:
    """What a backup holds."""

    home: str
    """The home folder that it was made of."""
    created_at_utc: str
    files: Mapping[str, tuple[int, str]]
    """Name in the archive -> (size in bytes, sha256), in the order of the archive; the database is the first."""


def adapter_file(adapter_id: int, name: str) -> str:
    """Return the name in the archive of one file of an adapter."""
    return f"adapters/{adapter_id}/{name}"


def preset_file(name: str) -> str:
    """Return the name in the archive of a preset."""
    return f"presets/{name}.toml"


def write_archive(path: Path, *, home: Path, created_at_utc: str, files: Mapping[str, Path]) -> None:
    """Write the files to the archive at `path`, which exists and is empty. `files`: name in the archive -> file.

    Raises OSError if a file cannot be read or written, ValueError if one changes while it is copied.
    """
    sizes = {name: file.stat().st_size for name, file in files.items()}
    listed = {name: {"bytes": sizes[name], "sha256": _sha256_of(file)} for name, file in files.items()}
    manifest = {"format": _FORMAT, "home": str(home), "created_at_utc": created_at_utc, "files": listed}
    content = json.dumps(manifest, indent=1).encode()
    with (
        path.open("wb") as packed,
        gzip.GzipFile(fileobj=packed, mode="wb", compresslevel=6, filename="") as unpacked,
        tarfile.open(fileobj=unpacked, mode="w|", format=tarfile.GNU_FORMAT) as tar,
    ):
        tar.addfile(_header(_MANIFEST, len(content)), BytesIO(content))
        for name, file in files.items():
            with open_regular(file) as source:
                tar.addfile(_header(name, sizes[name]), source)


def read_archive(path: Path, folder: Path) -> Manifest:
    """Unpack the archive at `path` into the new folder `folder`, and return what it holds.

    Raises ConselfError if it is not a whole archive that `write_archive` could have written, if it is too large for
    the disk, or unpacks to far more than it is.
    """
    with refusing(f"{path} cannot be restored", _HINT), open_regular(path) as packed:
        try:
            reader = _Reader(packed)
            name, size = reader.header()
            if name != _MANIFEST or size > _MAX_MANIFEST_BYTES:
                raise ValueError("it is not a backup of this program")
            manifest = _manifest(json.loads(reader.content(size)))
            needed = sum(size for size, _ in manifest.files.values()) + 2 * manifest.files[DATABASE][0]
            verify_disk(folder.parent, "this backup", needed)  # the database is copied once more, through its log
            for name, (size, sha256) in manifest.files.items():
                if reader.header() != (name, size):
                    raise ValueError(f"{name} is not where its list has it")
                target = folder / name
                target.parent.mkdir(parents=True, exist_ok=True)
                if reader.save(size, target) != sha256:
                    raise ValueError(f"{name} is damaged: its sha256 is not the listed one")
            reader.verify_end()
        except tarfile.TarError as error:
            raise ValueError("it is damaged, or not a backup of this program") from error
    return manifest


class _Reader:
    """Reads an archive from its beginning to its end, member by member."""

    def __init__(self, packed: BinaryIO | BufferedIOBase) -> None:
        self._packed = packed
        self._unpacked = gzip.GzipFile(fileobj=packed, mode="rb")

    def header(self) -> tuple[str, int]:
        """Return name and size of the next member. Raises ValueError if it is not a plain file."""
        member = tarfile.TarInfo.frombuf(self._read(tarfile.BLOCKSIZE), "utf-8", "strict")
        if member.type != tarfile.REGTYPE or member.size < 0:
            raise ValueError("it holds something that is not a plain file")
        return member.name, member.size

    def content(self, size: int) -> bytes:
        """Return the content of the present member, which has `size` bytes."""
        content = self._read(size)
        self._skip_padding(size)
        return content

    def save(self, size: int, target: Path) -> str:
        """Write the content of the present member to a new file and return its sha256."""
        found = hashlib.sha256()
        with open(create(target), "wb") as file:
            left = size
            while left:
                chunk = self._read(min(left, _CHUNK_BYTES))
                found.update(chunk)
                file.write(chunk)
                left -= len(chunk)
        self._skip_padding(size)
        return found.hexdigest()

    def verify_end(self) -> None:
        """Raise ValueError unless only the zero bytes of an archive's end follow, and the file is whole."""
        rest = self._unpacked.read(_MAX_END_BYTES + 1)
        if len(rest) > _MAX_END_BYTES or rest.strip(b"\0"):
            raise ValueError("it holds more than its list says")

    def _skip_padding(self, size: int) -> None:
        self._read(-size % tarfile.BLOCKSIZE)

    def _read(self, size: int) -> bytes:
        content: bytes = self._unpacked.read(size)
        if len(content) != size:
            raise ValueError("it ends too early")
        if self._unpacked.tell() > max(_FREE_RATIO_BYTES, _MAX_RATIO * self._packed.tell()):
            raise ValueError(f"it unpacks to more than {_MAX_RATIO} times its size")
        return content


def _header(name: str, size: int) -> tarfile.TarInfo:
    header = tarfile.TarInfo(name)
    header.size, header.mode, header.mtime = size, 0o600, int(time.time())
    return header


def _manifest(values: Any) -> Manifest:
    """Return the checked content of the first member. Raises ValueError or ConselfError if it is not as expected."""
    if not isinstance(values, dict) or not isinstance(values.get("format"), int):
        raise ValueError("it is not a backup of this program")
    if values["format"] > _FORMAT:
        raise ConselfError("the backup was written by a newer version of this program", "update it, then restore again")
    files = {}
    listed = values.get("files")
    if not isinstance(listed, dict) or not 1 <= len(listed) <= _MAX_FILES or next(iter(listed)) != DATABASE:
        raise ValueError("its list of files is not one of this program")
    for name, row in listed.items():
        size, sha256 = row.get("bytes"), row.get("sha256")
        if not _NAME.fullmatch(name):
            raise ValueError(f"it holds a file of an unknown name: {name[:100]!r}")
        if type(size) is not int or size < 0 or not isinstance(sha256, str) or not _SHA256.fullmatch(sha256):
            raise ValueError(f"the entry of {name} is damaged")
        files[name] = (size, sha256)
    if not isinstance(values.get("home"), str) or not isinstance(values.get("created_at_utc"), str):
        raise ValueError("its list is damaged")
    return Manifest(values["home"], values["created_at_utc"], files)


def _sha256_of(path: Path) -> str:
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
