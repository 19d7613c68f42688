"""Read GGUF files as the gguf package does, but about twenty times as fast and with limits.

The package's reader takes seconds for a vocabulary, because it reads a long array value by value; here every array is
read at once. It also believes every number in a file, so a small file can make it loop and recurse for minutes; here a
number that the file's bytes cannot hold, or that no model needs, is refused.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import numpy.typing as npt

from conself_local.foreign_files import open_regular

MAX_KEYS = 2**14
MAX_TENSORS = 2**14
MAX_ARRAY_TEXTS = 2**20
"""Limit for the texts in all arrays of a file together; the largest vocabularies and their merges hold 0.8 million."""
MAX_ARRAY_NUMBERS = 2**22
MAX_STRING_BYTES = 2**24
_LEAST_KEY_BYTES = 8 + 1 + 4 + 1
_LEAST_TENSOR_BYTES = 8 + 1 + 4 + 8 + 4 + 8
_ARRAY_HEADER = struct.Struct("=IQ")
_LENGTH = struct.Struct("=Q")


@dataclass
class Budget:
    """How much may still be read of a file, or of all parts of a split file together."""

    keys: int = MAX_KEYS
    tensors: int = MAX_TENSORS
    texts: int = MAX_ARRAY_TEXTS
    numbers: int = MAX_ARRAY_NUMBERS


class GgufReader(gguf.GGUFReader):  # type: ignore[misc]
    """A `gguf.GGUFReader` with the same fields and tensors, whose array fields can only be read whole.

    Bytes of a key that are not UTF-8 become escapes. An array field holds each string as one part, or all its numbers
    as a single part, so call `contents()` without an index. `budget` is what is left of the limits. Raises OSError if
    the file cannot be opened, and otherwise what `gguf.GGUFReader` raises, mostly ValueError.
    """

    def __init__(self, path: Path, budget: Budget | None = None) -> None:
        open_regular(path).close()
        self._budget = budget or Budget()
        super().__init__(path)

    def _build_fields(self, offs: int, count: int) -> int:
        _verify_count("keys", count, min(self._budget.keys, len(self.data) // _LEAST_KEY_BYTES))
        self._budget.keys -= int(count)
        for _ in range(count):
            begin = offs
            length, name = self._get_str(offs)
            offs += int(length.nbytes + name.nbytes)
            kind = self._get(offs, np.uint32)
            offs += int(kind.nbytes)
            size, parts, indices, types = self._get_field_parts(offs, kind[0])
            offs += size
            key = bytes(name).decode(errors="backslashreplace")  # a key that nobody asks for may hold any bytes
            head = [length, name, kind]
            indices = [index + len(head) for index in indices]
            self._push_field(gguf.ReaderField(begin, key, head + parts, indices, types), skip_sum=True)
        return offs

    def _get_tensor_info_field(self, orig_offs: int) -> gguf.ReaderField:
        try:
            return super()._get_tensor_info_field(orig_offs)
        except UnicodeDecodeError as error:
            raise ValueError("the name of a tensor is not UTF-8") from error

    def _build_tensor_info(self, offs: int, count: int) -> tuple[int, list[gguf.ReaderField]]:
        _verify_count("tensors", count, min(self._budget.tensors, len(self.data) // _LEAST_TENSOR_BYTES))
        self._budget.tensors -= int(count)
        offs, fields = super()._build_tensor_info(offs, count)
        return offs, fields

    def _get_str(self, offset: int) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        length = self._get(offset, np.uint64)
        if not len(length) or int(length[0]) > min(MAX_STRING_BYTES, len(self.data) - offset):
            raise ValueError("a text is cut short or too long")
        return length, self._get(offset + 8, np.uint8, length[0])

    def _get_field_parts(
        self, orig_offs: int, raw_type: int
    ) -> tuple[int, list[Any], list[int], list[gguf.GGUFValueType]]:
        if raw_type != gguf.GGUFValueType.ARRAY or self.byte_order != "I":
            return super()._get_field_parts(orig_offs, raw_type)
        whole, end = memoryview(self.data), int(orig_offs) + _ARRAY_HEADER.size
        parts: list[Any] = []
        try:
            kind, count = _ARRAY_HEADER.unpack_from(whole, int(orig_offs))
            if kind in self.gguf_scalar_to_np:
                _verify_count("numbers in arrays", count, self._budget.numbers)
                self._budget.numbers -= count
                parts = [self._get(end, self.gguf_scalar_to_np[kind], count)]
                end += count * parts[0].itemsize
            elif kind == gguf.GGUFValueType.STRING:
                _verify_count("texts in arrays", count, self._budget.texts)
                self._budget.texts -= count
                for _ in range(count):
                    first = end + _LENGTH.size
                    end = first + _LENGTH.unpack_from(whole, end)[0]
                    parts.append(whole[first:end])
            else:
                raise ValueError("an array holds neither numbers nor texts")
        except struct.error as error:
            raise ValueError("an array is cut short") from error
        if end > len(whole):
            raise ValueError("an array is cut short")
        return (
            end - int(orig_offs),
            parts,
            list(range(len(parts))),
            [gguf.GGUFValueType.ARRAY, gguf.GGUFValueType(kind)],
        )


def _verify_count(what: str, count: int, most: int) -> None:
    if count > most:
        raise ValueError(f"it states {count} {what}, and at most {most} are possible")
