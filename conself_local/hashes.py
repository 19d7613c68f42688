"""Compute content addresses (tagged SHA-256 over canonical JSON, cut to 128 bits) and hashes of files.

Not covered: secrets and signatures; the hashes name contents and detect changes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from conself_local.foreign_files import open_regular


def content_id(tag: str, content: Any) -> str:
    """Return the address of `content` as 32 hex digits; the tag keeps equal contents of different kinds apart.

    `content` is any JSON value; the order of its dict keys does not matter. Raises TypeError if it is not a JSON value.
    """
    text = json.dumps(content, ensure_ascii=True, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(tag.encode() + b"\0" + text.encode()).hexdigest()[:32]


def program_id(problem_hash: str, code: str) -> str:
    """Return the id of a program; the same code for another problem has another id."""
    return content_id("program", [problem_hash, code])


def prompt_id(text: str, token_ids: Sequence[int]) -> str:
    """Return the id of a rendered prompt and its tokens."""
    return content_id("prompt", [text, list(token_ids)])


def behaviour_id(outputs: Sequence[Sequence[str | None]]) -> str:
    """Return the id of a stored behaviour; `outputs` holds (status, canonical text, detail) per input, in order."""
    return content_id("behaviour", [list(o) for o in outputs])


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of the file as 64 hex digits.

    A file is read again only if its size or modification time has changed. Raises OSError if the file cannot be read.
    """
    stat = path.stat()
    return _sha256_of(str(path.resolve()), stat.st_size, stat.st_mtime_ns)


def files_sha256(paths: Sequence[Path]) -> str:
    """Return one hash of several files in order, 64 hex digits; of a single file, its SHA-256.

    Of several files it is the SHA-256 of their hashes' hex digits. Raises OSError if a file cannot be read.
    """
    hashes = [file_sha256(path) for path in paths]
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()


def folder_sha256(folder: Path, names: Iterable[str]) -> str:
    """Return one hash of the named files of a folder, 64 hex digits; it changes with a name and with a content.

    Raises OSError if a file cannot be read.
    """
    listed = [[name, file_sha256(folder / name)] for name in sorted(names)]
    return hashlib.sha256(b"folder\0" + json.dumps(listed).encode()).hexdigest()


@lru_cache(maxsize=256)
def _sha256_of(path: str, size: int, mtime_ns: int) -> str:
    del size, mtime_ns  # these are part of the cache's key, so that a changed file is read again
    with open_regular(Path(path)) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
