"""Split a JSON text into the records that it holds, piece by piece, without parsing it.

The records are the items of an array, the values that follow one another (as `jq` prints them), or the items of the
lists that an object wraps under a usual name, as in `{"data": [...]}`. Only brackets, quotes and commas are looked at,
so a record that is not valid JSON does not harm the others, and a text may be larger than memory.
Not covered: what is in a record (`records.py` parses it), and JSON lines, which are split at their line feeds.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

WRAPPERS = frozenset(
    "data dataset items problems questions records rows samples tasks test train validation".split()  # noqa: SIM905
)
"""Names under which an object may wrap its list of records."""
_STRING = re.compile(rb'(?:[^"\\]++|\\.)*+"', re.DOTALL)
"""What is left of a string, and the quote that ends it."""
_BRACKET = re.compile(rb'["{}\[\]]')
_BRACKET_OR_COMMA = re.compile(rb'["{}\[\],]')
_WRAPPED = re.compile(rb'"(\w+)"\s*:\s*\Z')
_LONGEST_KEY = 200


class JsonValues:
    """Takes a JSON text chunk by chunk and returns the texts of its records; None stands for one that is too long."""

    def __init__(self, most_bytes: int, most_skipped: int) -> None:
        """Set the limits: the size of a record that is returned, and the size at which the text is refused."""
        self._most, self._most_skipped = most_bytes, most_skipped
        self._value = bytearray()
        self._size = 0
        self._depth = 0
        self._base = 0
        """Depth at which the records lie: 0 for values one after another, 1 in an array, 2 in a wrapped list."""
        self._in_string = False
        self._escaped = False
        self._unwrapped = False
        """Whether the object that is being read wrapped a list, so that it is no record itself."""
        self._list_at: int | None = None
        """Length of the value behind a `[` that may begin a wrapped list; it does if an object comes next."""

    def split(self, chunks: Iterable[bytes]) -> Iterator[bytes | None]:
        """Yield the text of each record.

        What remains at the end of a text that was cut off is yielded too; no parser takes it for JSON.
        Raises ValueError if a record is so long that the text is refused.
        """
        for chunk in chunks:
            yield from self._split(chunk)
        if self._value.strip() or self._depth:
            yield None if self._size > self._most else bytes(self._value)

    def _split(self, chunk: bytes) -> Iterator[bytes | None]:
        start, at = 0, self._outside_string(chunk, int(self._escaped))
        while found := self._pattern().search(chunk, at):
            at, mark = found.end(), found.group()
            if mark == b'"':
                self._in_string, self._list_at = True, None
                at = self._outside_string(chunk, at)
            elif self._is_inside(mark):
                self._depth += 1 if mark in b"{[" else -1
            elif mark == b",":
                self._keep(chunk[start : at - 1])
                yield self._taken()
                start = at
            else:
                self._keep(chunk[start:at])
                start = at
                if self._bracket(mark):
                    yield self._taken()
        self._keep(chunk[start:])

    def _outside_string(self, chunk: bytes, at: int) -> int:
        """Return the end of the string that `at` is in, which may be that of the chunk, or `at` itself."""
        if not self._in_string:
            return at
        self._escaped = False
        if end := _STRING.match(chunk, at):
            self._in_string = False
            return end.end()
        rest = chunk[at:]
        self._escaped = (len(rest) - len(rest.rstrip(b"\\"))) % 2 == 1
        return len(chunk)

    def _is_inside(self, mark: bytes) -> bool:
        """Return whether a bracket neither begins nor ends a record or a list of records."""
        if mark == b"," or self._list_at is not None:
            return False
        return self._base > 0 or self._depth > 1 if mark in b"{[" else self._depth > self._base + 1

    def _pattern(self) -> re.Pattern[bytes]:
        return _BRACKET_OR_COMMA if self._base and self._depth == self._base else _BRACKET

    def _bracket(self, mark: bytes) -> bool:
        """Follow a bracket, which is already in the value; return whether the value is a whole record now."""
        if mark in b"{[":
            self._open(mark)
            return False
        self._list_at = None
        self._depth = max(0, self._depth - 1)
        if self._depth == 0 and self._base == 0:
            whole = not self._unwrapped
            self._unwrapped = False
            if not whole:
                self._drop()
            return whole
        if self._base and self._depth == self._base - 1:  # the end of the list
            self._base = 0
            del self._value[-1:]
            self._size -= 1
            if self._value.strip():
                return True
            self._drop()
        return False

    def _open(self, mark: bytes) -> None:
        if mark == b"[" and self._depth == 0 and self._base == 0 and not self._value[:-1].strip():
            self._base = 1
            self._drop()
        elif mark == b"[" and self._depth == 1 and self._base == 0:
            key = _WRAPPED.search(self._value, max(0, len(self._value) - _LONGEST_KEY), len(self._value) - 1)
            self._list_at = len(self._value) if key and key.group(1).decode("ascii", "replace") in WRAPPERS else None
        elif self._list_at is not None:
            if mark == b"{" and not self._value[self._list_at : -1].strip():
                self._base, self._unwrapped = 2, True
                self._drop()
                self._keep(mark)
            self._list_at = None
        self._depth += 1

    def _keep(self, part: bytes) -> None:
        self._size += len(part)
        if self._size > self._most_skipped:
            raise ValueError(f"a record is longer than {self._most_skipped} bytes")
        self._value += part[: max(0, self._most + 1 - len(self._value))]

    def _taken(self) -> bytes | None:
        """Return the value and begin the next one."""
        value = None if self._size > self._most else bytes(self._value)
        self._drop()
        return value

    def _drop(self) -> None:
        self._value.clear()
        self._size = 0
