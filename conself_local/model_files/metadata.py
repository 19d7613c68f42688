"""Read the values that a GGUF file states under the name of its architecture, as the types that are needed.

A file is foreign: a value may be missing or of any type. Not covered: what the values mean.
"""

from __future__ import annotations

from collections.abc import Callable

from conself_local.errors import ConselfError


class Metadata:
    """The values of one architecture: `number("rope.freq_base", 10000.0)` reads `llama.rope.freq_base`.

    read: returns the value of a whole key, None if it is missing.
    Every method raises ConselfError if the value is missing and there is no default, or if it is of another type.
    """

    def __init__(self, architecture: str, read: Callable[[str], object], file_name: str) -> None:
        self.architecture = architecture
        self.file_name = file_name
        self._read = read

    def __contains__(self, key: str) -> bool:
        return self._value(key) is not None

    def _value(self, key: str, default: object = None) -> object:
        value = self._read(f"{self.architecture}.{key}")
        return default if value is None else value

    def whole(self, key: str, default: int | None = None, *, least: int = 1) -> int:
        """Return a whole number; a list of equal numbers, one per layer, counts as that number.

        least: a smaller number is refused, as is one above 2**31 - 1.
        """
        value = self._value(key, default)
        if isinstance(value, list) and value and all(one == value[0] for one in value):
            value = value[0]
        if type(value) is not int or not least <= value < 2**31:
            raise self.unusable(key)
        return value

    def positive(self, key: str, default: float | None = None) -> float:
        """Return a finite number above 0."""
        value = self.number(key, default)
        if value <= 0:
            raise self.unusable(key)
        return value

    def number(self, key: str, default: float | None = None) -> float:
        """Return a finite number."""
        value = self._value(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e30:
            raise self.unusable(key)
        return float(value)

    def text(self, key: str, default: str) -> str:
        """Return a text."""
        value = self._value(key, default)
        if not isinstance(value, str):
            raise self.unusable(key)
        return value

    def truth(self, key: str, default: bool) -> bool:
        """Return a truth value."""
        value = self._value(key, default)
        if not isinstance(value, bool):
            raise self.unusable(key)
        return value

    def truths(self, key: str) -> list[bool] | None:
        """Return a list of truth values, one per layer; None if the value is missing or no list."""
        value = self._value(key)
        return [bool(one) for one in value] if isinstance(value, list) else None

    @property
    def head_size(self) -> int:
        """Size of one head's keys: as stated, else the width divided among the heads."""
        return self.whole("attention.key_length", self.whole("embedding_length") // self.whole("attention.head_count"))

    def unusable(self, key: str) -> ConselfError:
        """Return the error for a value that is missing or cannot be used."""
        return ConselfError(
            f"{self.file_name} has no usable value for {self.architecture}.{key}",
            "the file is damaged, or of a kind that is not known here; it can perhaps be sampled, but not trained",
        )
