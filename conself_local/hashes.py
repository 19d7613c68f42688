"""Content addresses: tagged SHA-256 over canonical JSON, cut to 128 bits."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any


def content_id(tag: str, content: Any) -> str:
    """32 hex digits; the tag keeps equal contents of different kinds apart."""
    text = json.dumps(content, ensure_ascii=True, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(tag.encode() + b"\0" + text.encode()).hexdigest()[:32]


def program_id(problem_hash: str, code: str) -> str:
    return content_id("program", [problem_hash, code])


def prompt_id(text: str, token_ids: Sequence[int]) -> str:
    return content_id("prompt", [text, list(token_ids)])


def behaviour_id(outputs: Sequence[Sequence[str | None]]) -> str:
    """`outputs`: (status, canonical text, detail) an input."""
    return content_id("behaviour", [list(o) for o in outputs])


def file_sha256(path: Path) -> str:
    """64 hex digits. Raises OSError."""
    stat = path.stat()
    return _sha256_of(str(path.resolve()), stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=64)
def _sha256_of(path: str, size: int, mtime_ns: int) -> str:
    del size, mtime_ns  # part of the cache's key: a changed file is read again
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
