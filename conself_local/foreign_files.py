"""Open foreign files: a path that a user, a tool or a download names may be anything, and its content anything.

A named pipe would hang a reader for ever, a device would fill the memory, and a parser raises whatever its author did
not think of. Every reader of such files goes through this module. Not covered: what the content means.
"""

from __future__ import annotations

import codecs
import gzip
import io
import json
import os
import stat
import struct
import sys
import tokenize
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedIOBase, BufferedReader
from pathlib import Path
from typing import Any

from conself_local.errors import ConselfError

PARSER_ERRORS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    RecursionError,
    NotImplementedError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)
"""What parsers raise about content that they were not written for."""
_MAX_REASON_CHARACTERS = 500
_GZIP = b"\x1f\x8b"
_NO_CHARACTER_SETS = frozenset(("idna", "punycode", "raw-unicode-escape", "undefined", "unicode-escape"))
"""Text codecs of Python that a coding line may name, but that no editor writes; two of them take quadratic time."""


def open_regular(path: Path) -> BufferedReader:
    """Open a regular file for reading, without waiting for anything.

    Raises IsADirectoryError or another OSError if it cannot be opened, or if it is a pipe, a device or a socket.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(0, "it is not a regular file", str(path))
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def unpacking(file: BufferedReader) -> BufferedIOBase:
    """Return the file itself, or, if it is packed by gzip, one that unpacks it; the caller limits what it reads."""
    return gzip.GzipFile(fileobj=file) if file.peek(len(_GZIP)).startswith(_GZIP) else file


def read_regular(path: Path, most_bytes: int) -> bytes:
    """Return the content of a regular file.

    Raises OSError if it cannot be read, ValueError if it holds more than `most_bytes` bytes.
    """
    with open_regular(path) as file:
        content = file.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise ValueError(f"it is larger than the limit of {most_bytes} bytes")
    return content


def read_text(path: Path, most_bytes: int) -> str:
    """Return the text of a regular file without its byte order mark: UTF-8, or UTF-16 with a mark (PowerShell's).

    Raises what `read_regular` raises, and ValueError for another encoding.
    """
    content = read_regular(path, most_bytes)
    encoding = "utf-16" if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not UTF-8 text ({reason(error)})") from error


def read_source(path: Path, max_bytes: int) -> str:
    """Return the text of a Python file, decoded as Python does: by its byte order mark, its coding line, or as UTF-8.

    Raises OSError if it cannot be read; ValueError or SyntaxError if it is too large, names an encoding that is unknown
    or no character set, or is not written in the one that it names.
    """
    content = read_regular(path, max_bytes)
    encoding, _ = tokenize.detect_encoding(io.BytesIO(content).readline)
    if encoding.replace("_", "-").lower() in _NO_CHARACTER_SETS:
        raise ValueError(f"its coding line names {encoding}, which is no character set")
    try:
        return content.decode(encoding)
    except LookupError as error:
        raise ValueError(f"its coding line names {encoding}, which is no character set") from error


def read_json(path: Path, most_bytes: int, hint: str) -> dict[str, Any]:
    """Return the JSON object of a file. Raises ConselfError with `hint` if the file does not hold one."""
    with refusing(f"{path} cannot be read", hint):
        content = json.loads(read_text(path, most_bytes))
        if not isinstance(content, dict):
            raise ValueError("it is not a JSON object")
        return content


@contextmanager
def refusing(what: str, hint: str) -> Iterator[None]:
    """Turn whatever a parser raises in the block into one ConselfError: `what`, the reason, and `hint`.

    A ConselfError of the block passes unchanged.
    """
    try:
        yield
    except (OSError, *PARSER_ERRORS) as error:
        raise ConselfError(f"{what}: {reason(error)}", hint) from error


def reason(error: BaseException) -> str:
    """Return in one short line why a parser failed."""
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if isinstance(error, MemoryError):
        return "it needs too much memory"
    if isinstance(error, ValueError) and "integer string conversion" in str(error):
        return f"it holds an integer of more than {sys.get_int_max_str_digits()} digits"
    text = " ".join(str(error.strerror if isinstance(error, OSError) and error.strerror else error).split())
    named = text if isinstance(error, OSError | ValueError | SyntaxError) else f"{type(error).__name__} {text}"
    return named[:_MAX_REASON_CHARACTERS].strip() or type(error).__name__
