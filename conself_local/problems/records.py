"""Read the records of a problems file: JSON lines or JSON, plain or packed by gzip, Parquet, or TOML written by hand.

A file is known by its content, not by its name. It may be hostile: the size of its records, its unpacked size and what
a parser needs for it are limited, and a record that cannot be read is a `Fault` of that record only.
Not covered: what a record means (`load.py`, `formats/`).
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conself_local.errors import ConselfError
from conself_local.foreign_files import PARSER_ERRORS, open_regular, reason, refusing, unpacking
from conself_local.problems.json_values import WRAPPERS, JsonValues
from conself_local.problems.parquet_file import PARQUET_MAGIC, parquet_rows
from conself_local.problems.toml_file import read_toml

MAX_RECORD_BYTES = 16_000_000
_SKIPPED_BYTES = 4 * MAX_RECORD_BYTES
"""A line longer than this ends the file: it is not a file of records."""
MAX_RECORDS = 1_000_000
MAX_RATIO = 200
"""A packed file of more than `MAX_RECORD_BYTES` unpacked may be at most this many times as large unpacked as packed."""
_CHUNK_BYTES = 2**20
_PACKED = {b"PK\x03\x04": "zip", b"\x28\xb5\x2f\xfd": "zstd", b"\xfd7zXZ": "xz", b"BZh": "bzip2"}
"""How files begin that are packed in another way than by gzip."""
_TOML_HEAD = re.compile(r"^[ \t]*\[\[[ \t]*problem[ \t]*\]\]", re.MULTILINE)

Record = dict[str, Any]


@dataclass(frozen=True)
class Fault:
    """A record that gives no problem, and the reason."""

    line: int
    why: str
    fixable: bool
    """True if the user wrote the record and can fix it; False if it is from a published set and is left out."""


def json_records(path: Path) -> Iterator[tuple[int, Record | Fault]]:
    """Yield (line, record or fault) for each line that is not blank; lines count from 1.

    A file that is one JSON text, or Parquet, gives its records, whose numbers count from 1 instead.
    Raises ConselfError if the file cannot be read, is damaged, has too many records, or unpacks to far more than it is.
    """
    with refusing(f"{path} cannot be read", "check that the file is complete, and JSON, JSON lines, .gz or Parquet"):
        for number, one in _records(path):
            if number > MAX_RECORDS:
                raise ConselfError(f"{path} has more than {MAX_RECORDS} records", "split it into several files")
            yield number, one


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


def _records(path: Path) -> Iterator[tuple[int, Record | Fault]]:
    with open_regular(path) as file:
        is_parquet = file.read(len(PARQUET_MAGIC)) == PARQUET_MAGIC
    if is_parquet:
        for number, row in enumerate(parquet_rows(path, MAX_RECORDS, MAX_RECORD_BYTES, MAX_RATIO), start=1):
            yield number, row if isinstance(row, dict) else Fault(number, row, False)
        return
    lines = _is_json_lines(path)
    texts = _lines(_chunks(path)) if lines else JsonValues(MAX_RECORD_BYTES, _SKIPPED_BYTES).split(_chunks(path))
    for number, text in enumerate(texts, start=1):
        if text is None:
            yield number, Fault(number, f"it is longer than {MAX_RECORD_BYTES} bytes", True)
        elif not lines or text.strip():
            yield number, _record(text, number)


def _is_json_lines(path: Path) -> bool:
    """Return whether each line of a file is a record of its own; else the file is one JSON text.

    A first line that is no JSON does not make a file of lines another one, if the second line is an object.
    """
    lines = (line for line in _lines(_chunks(path)) if line is None or line.strip())
    first = next(lines, b"")
    second = b"" if first is None else next(lines, b"")
    if first is None:
        return False
    value, first = _value(first), first.strip()
    head = first[:1]
    if isinstance(value, dict):
        return second != b"" or not any(_is_wrapped(name, value[name]) for name in value)
    if second == b"":
        return False
    if first == b"[" or (head == b"[" and first.endswith(b",")):
        return False
    if head == b"{" and first != b"{" and first.endswith((b"[", b"{", b",", b":")):
        return False
    return isinstance(_value(second), dict) or (head != b"[" and first != b"{")


def _is_wrapped(name: str, value: object) -> bool:
    return name in WRAPPERS and isinstance(value, list) and bool(value) and isinstance(value[0], dict)


def _value(text: bytes | None) -> object:
    """Return the value of a JSON text; None if it is none."""
    try:
        return json.loads(text or b"")
    except PARSER_ERRORS:
        return None


def _lines(chunks: Iterable[bytes]) -> Iterator[bytes | None]:
    """Yield the lines, without their line feeds; None stands for one longer than `MAX_RECORD_BYTES`."""
    line, size = bytearray(), 0
    for chunk in chunks:
        *ends, rest = chunk.split(b"\n")
        for part in ends:
            if size + len(part) <= MAX_RECORD_BYTES:
                yield bytes(line + part)
            elif size <= MAX_RECORD_BYTES:
                yield None
            line, size = bytearray(), 0
        if size <= MAX_RECORD_BYTES < size + len(rest):
            yield None  # at once, so that who needs only the first lines need not read to the end of this one
        size += len(rest)
        line += rest[: max(0, MAX_RECORD_BYTES - len(line))]
        if size > _SKIPPED_BYTES:
            raise ValueError(f"a line is longer than {_SKIPPED_BYTES} bytes")
    if 0 < size <= MAX_RECORD_BYTES:
        yield bytes(line)


def _chunks(path: Path) -> Iterator[bytes]:
    """Yield the unpacked text in UTF-8 without its byte order mark. Raises ValueError if it unpacks to far too much."""
    with open_regular(path) as packed:
        head = packed.peek(8)[:8]
        for magic, name in _PACKED.items():
            if head.startswith(magic):
                raise ValueError(f"it is packed by {name}; unpack it first")
        unpacked = unpacking(packed)
        decoder: codecs.IncrementalDecoder | None = None
        size = 0
        for chunk in iter(lambda: unpacked.read(_CHUNK_BYTES), b""):
            if not size:
                encoding = json.detect_encoding(chunk)
                decoder = None if encoding == "utf-8" else codecs.getincrementaldecoder(encoding)()
            size += len(chunk)
            if unpacked is not packed and size > max(MAX_RECORD_BYTES, MAX_RATIO * packed.tell()):
                raise ValueError(f"it unpacks to more than {MAX_RATIO} times its size")
            yield decoder.decode(chunk).encode() if decoder else chunk
        if decoder:
            yield decoder.decode(b"", final=True).encode()


def _record(text: bytes, number: int) -> Record | Fault:
    try:
        record = json.loads(text.decode("utf-8-sig"))  # files that were put together have marks in the middle
    except UnicodeDecodeError:
        return Fault(number, "not UTF-8 text; save the file as UTF-8", True)
    except PARSER_ERRORS as error:
        return Fault(number, f"not valid JSON ({reason(error)})", True)
    if isinstance(record, dict) and "row_idx" in record and isinstance(record.get("row"), dict):
        return record["row"]  # as the viewer of Hugging Face wraps each row
    if isinstance(record, dict):
        return record
    return Fault(number, "not a JSON object: each line must be one problem in braces", True)
