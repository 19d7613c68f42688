"""Read GGUF files as the gguf package does, but about twenty times as fast and with limits.

The package's reader takes seconds for a vocabulary, because it reads a long array value by value; here every array is
read at once. It also believes every number in a file, so a small file can make it loop and recurse for minutes; here a
number that the file's bytes cannot hold, or that no model needs, is refused.
"""

from __future__ import annotations

import struct
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


class GgufReader(gguf.GGUFReader):  # type: ignore[misc]
    """A `gguf.GGUFReader` with the same fields and tensors, whose array fields can only be read whole.

    An array field holds each string as one part, or all its numbers as a single part, so call `contents()` without an
    index. Raises OSError if the file cannot be opened, and otherwise what `gguf.GGUFReader` raises, mostly ValueError.
    """

    def __init__(self, path: Path) -> None:
        open_regular(path).close()
        self._texts_left, self._numbers_left = MAX_ARRAY_TEXTS, MAX_ARRAY_NUMBERS
        super().__init__(path)

    def _build_fields(self, offs: int, count: int) -> int:
        _verify_count("keys", count, min(MAX_KEYS, len(self.data) // _LEAST_KEY_BYTES))
        return int(super()._build_fields(offs, count))

    def _build_tensor_info(self, offs: int, count: int) -> tuple[int, list[gguf.ReaderField]]:
        _verify_count("tensors", count, min(MAX_TENSORS, len(self.data) // _LEAST_TENSOR_BYTES))
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
                _verify_count("numbers in arrays", count, self._numbers_left)
                self._numbers_left -= count
                parts = [self._get(end, self.gguf_scalar_to_np[kind], count)]
                end += count * parts[0].itemsize
            elif kind == gguf.GGUFValueType.STRING:
                _verify_count("texts in arrays", count, self._texts_left)
                self._texts_left -= count
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
