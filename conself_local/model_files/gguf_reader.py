"""The gguf package's reader, which takes seconds for a vocabulary, with its long arrays read in one go: some twenty times as fast.

Only `_get_field_parts` is replaced. Where a version of the package has another way inside, it is simply slow again.
"""

from __future__ import annotations

import struct
from typing import Any

import gguf

_LONGEST_ARRAY = 2**24
"""Of a field; no vocabulary comes near it, and a damaged file may say anything."""
_HEAD = struct.Struct("=IQ")
_LENGTH = struct.Struct("=Q")


class GgufReader(gguf.GGUFReader):  # type: ignore[misc]
    """Fields and tensors as in `gguf.GGUFReader`. Raises what that raises, ValueError for an array that is cut short or far too long.

    A field that is an array holds every string as one part, and all numbers as one part: ask it for all its `contents()`.
    """

    def _get_field_parts(
        self, orig_offs: int, raw_type: int
    ) -> tuple[int, list[Any], list[int], list[gguf.GGUFValueType]]:
        if raw_type != gguf.GGUFValueType.ARRAY or self.byte_order != "I":
            return super()._get_field_parts(orig_offs, raw_type)
        whole, end = memoryview(self.data), int(orig_offs) + _HEAD.size
        parts: list[Any] = []
        try:
            kind, count = _HEAD.unpack_from(whole, int(orig_offs))
            if count > _LONGEST_ARRAY:
                raise ValueError(f"an array of {count} values")
            if kind in self.gguf_scalar_to_np:
                parts = [self._get(end, self.gguf_scalar_to_np[kind], count)]
                end += count * parts[0].itemsize
            elif kind == gguf.GGUFValueType.STRING:
                for _ in range(count):
                    first = end + _LENGTH.size
                    end = first + _LENGTH.unpack_from(whole, end)[0]
                    parts.append(whole[first:end])
            else:
                return super()._get_field_parts(orig_offs, raw_type)
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
