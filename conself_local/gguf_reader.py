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

    def _get_field_parts(self, orig_offs: int, raw_type: int) -> tuple[int, list[Any], list[int], list[gguf.GGUFValueType]]:
        if raw_type != gguf.GGUFValueType.ARRAY or self.byte_order != "I":
            return super()._get_field_parts(orig_offs, raw_type)
        whole = memoryview(self.data)
        begin = int(orig_offs) + _HEAD.size
        if begin > len(whole):
            raise ValueError("an array is cut short")
        kind, count = _HEAD.unpack_from(whole, begin - _HEAD.size)
        if count > _LONGEST_ARRAY:
            raise ValueError(f"an array of {count} values")
        if kind in self.gguf_scalar_to_np:
            numbers = self._get(begin, self.gguf_scalar_to_np[kind], count)
            if len(numbers) < count:
                raise ValueError("an array is cut short")
            return _HEAD.size + numbers.nbytes, [numbers], [0], [gguf.GGUFValueType.ARRAY, gguf.GGUFValueType(kind)]
        if kind != gguf.GGUFValueType.STRING:
            return super()._get_field_parts(orig_offs, raw_type)
        texts: list[memoryview] = []
        try:
            for _ in range(count):
                first = begin + _LENGTH.size
                begin = first + _LENGTH.unpack_from(whole, begin)[0]
                texts.append(whole[first:begin])
        except struct.error:
            begin = len(whole) + 1
        if begin > len(whole):
            raise ValueError("an array is cut short")
        return begin - int(orig_offs), texts, list(range(count)), [gguf.GGUFValueType.ARRAY, gguf.GGUFValueType.STRING]
