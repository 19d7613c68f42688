"""Read the records of a problems file: JSON lines, plain or `.gz`, or TOML written by hand.

A file may be hostile: its lines, its unpacked size and what a parser needs for it are limited, and a line that cannot
be read is a `Fault` of that line only. Not covered: what a record means (`load.py`, `formats/`).
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedIOBase
from pathlib import Path
from typing import Any

from conself_local.errors import ConselfError
from conself_local.foreign_files import PARSER_ERRORS, open_regular, reason, refusing
from conself_local.problems.toml_file import read_toml

MAX_RECORD_BYTES = 16_000_000
_SKIPPED_BYTES = 4 * MAX_RECORD_BYTES
"""A line longer than this ends the file: it is not a file of records."""
MAX_RECORDS = 1_000_000
MAX_RATIO = 200
"""A `.gz` file of more than `MAX_RECORD_BYTES` unpacked may be at most this many times as large unpacked as packed."""
_MARK = b"\xef\xbb\xbf"
"""The byte order mark that some editors put at the beginning of UTF-8."""
_TOML_HEAD = re.compile(r"^[ \t]*\[\[[ \t]*problem[ \t]*\]\]", re.MULTILINE)

Record = dict[str, Any]


@dataclass(frozen=True)
class Fault:
    """A record that gives no problem, and the reason."""

    line: int
    why: str
    fixable: bool
    """True if the user wrote the record and can fix it; False if it is from a published set and is excluded."""


def json_records(path: Path) -> Iterator[tuple[int, Record | Fault]]:
    """Yield (line, record or fault) for each line that is not blank; lines count from 1.

    A file that holds one JSON array gives its items, whose numbers count from 1 instead.
    Raises ConselfError if the file cannot be read, is damaged, has too many lines, or unpacks to far more than it is.
    """
    with refusing(f"{path} cannot be read", "check that the file is complete, and plain text or .gz"):
        if items := _array(path):
            yield from ((number, _verified(item, number)) for number, item in enumerate(items, start=1))
            return
        for number, line in enumerate(_lines(path), start=1):
            if number > MAX_RECORDS:
                raise ConselfError(f"{path} has more than {MAX_RECORDS} lines", "split it into several files")
            if len(line) > MAX_RECORD_BYTES:
                yield number, Fault(number, f"it is longer than {MAX_RECORD_BYTES} bytes", True)
            elif line.strip():
                yield number, _record(line, number)


def toml_records(path: Path) -> Iterator[tuple[int, Record]]:
    """Yield (line of the table's `[[problem]]`, table); line 1 if the lines cannot be found.

    Raises ConselfError if the file cannot be read, or has no such table.
    """
    text, values = read_toml(path, "fix it; `conself_local/README.md` shows the format, and its limits")
    tables = values.get("problem")
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise ConselfError(f"{path} has no [[problem]]", "begin every problem with [[problem]]")
    heads = [text.count("\n", 0, match.start()) + 1 for match in _TOML_HEAD.finditer(text)]
    lines = heads if len(heads) == len(tables) else [1] * len(tables)
    yield from zip(lines, tables, strict=True)


def _array(path: Path) -> list[Any]:
    """Return the items of a file that holds one JSON array of objects; an empty list for any other file."""
    whole = bytearray()
    for line in _lines(path):
        if not whole and line.strip() and not line.lstrip().startswith(b"["):
            return []
        whole += line if whole else line.lstrip()
        if len(whole) > MAX_RECORD_BYTES:
            return []
    try:
        items = json.loads(whole)
    except PARSER_ERRORS:
        return []
    return items if isinstance(items, list) and any(isinstance(item, dict) for item in items) else []


def _lines(path: Path) -> Iterator[bytes]:
    """Yield the lines, each of at most `MAX_RECORD_BYTES` + 1 bytes; the rest of a longer line is skipped."""
    with open_regular(path) as packed:
        unpacked: BufferedIOBase = gzip.GzipFile(fileobj=packed) if path.suffix == ".gz" else packed
        first = True
        while line := unpacked.readline(MAX_RECORD_BYTES + 1):
            size = len(line)
            yield line.removeprefix(_MARK) if first else line
            first = False
            while size > MAX_RECORD_BYTES and not line.endswith(b"\n"):
                line = unpacked.readline(MAX_RECORD_BYTES)
                size += len(line)
                if not line:
                    return
                if size > _SKIPPED_BYTES:
                    raise ValueError(f"a line is longer than {_SKIPPED_BYTES} bytes")
                _verify_ratio(packed, unpacked)
            _verify_ratio(packed, unpacked)


def _verify_ratio(packed: BufferedIOBase, unpacked: BufferedIOBase) -> None:
    """Raise ValueError if far more was unpacked than a file of problems gives."""
    if unpacked is not packed and unpacked.tell() > max(MAX_RECORD_BYTES, MAX_RATIO * packed.tell()):
        raise ValueError(f"it unpacks to more than {MAX_RATIO} times its size")


def _record(line: bytes, number: int) -> Record | Fault:
    try:
        record = json.loads(line.decode())
    except PARSER_ERRORS as error:
        return Fault(number, f"not valid JSON ({reason(error)})", True)
    return _verified(record, number)


def _verified(record: object, number: int) -> Record | Fault:
    return (
        record
        if isinstance(record, dict)
        else Fault(number, "not a JSON object: each line must be one problem in braces", True)
    )
