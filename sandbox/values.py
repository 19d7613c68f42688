"""Pack test inputs for the child: plain values with marshal, text as UTF-8, after checks of type, depth and size.

Marshalled data goes from the parent to the child only. Nothing that a child sends is ever unpacked.
Covered types: None, bool, int, float, str, bytes, list, tuple, dict, set (sets are packed in a fixed order).
"""

from __future__ import annotations

import marshal

MAX_INPUT_BYTES = 4 * 2**20
"""Packed arguments of one call."""
MAX_STDIN_BYTES = 10_000_000
"""Text on one standard input."""
MAX_DEPTH = 50
MAX_VALUES = 1_000_000
"""Values in one input, each counted as often as it is reached: lists that share their parts are large."""
_PLAIN = frozenset((type(None), bool, int, float, str, bytes))
_NO_SHARING = 2
"""The marshal version that writes no references, so that two equal arguments never become one object."""


class UnusableInputError(ValueError):
    """An input that no program can be given: its problem must be excluded."""


def pack_input(value: object) -> bytes:
    """Return the bytes of one input.

    Raises UnusableInputError for a type that is not plain or a value that is too large.
    """
    if isinstance(value, str):
        raw = value.encode("utf-8", "surrogatepass")
        check_size(raw, is_text=True)
    else:
        check_plain(value)
        raw = marshal.dumps(value, _NO_SHARING)  # type: ignore[arg-type]
        check_size(raw, is_text=False)
    return raw


def check_size(raw: bytes, *, is_text: bool) -> None:
    """Check the size of a packed input: a text on standard input, or arguments. Raises UnusableInputError."""
    most = MAX_STDIN_BYTES if is_text else MAX_INPUT_BYTES
    if len(raw) > most:
        raise UnusableInputError(f"an input of {len(raw)} bytes is larger than the limit of {most} bytes")


def check_plain(value: object) -> None:
    """Check that `value` is made of plain values by exact type, at most 50 levels deep and at most a million in all.

    Raises UnusableInputError if not.
    """
    _check(value, 0, [MAX_VALUES])


def _check(value: object, depth: int, left: list[int]) -> None:
    """`left` holds the number of values that may still be reached."""
    left[0] -= 1
    if left[0] < 0:
        raise UnusableInputError(f"an input holds more than {MAX_VALUES} values")
    kind = type(value)
    if kind in _PLAIN:
        return
    if depth > MAX_DEPTH:
        raise UnusableInputError(f"an input is nested more than {MAX_DEPTH} levels deep")
    if isinstance(value, dict) and kind is dict:
        for key, item in value.items():
            _check(key, depth + 1, left)
            _check(item, depth + 1, left)
    elif isinstance(value, list | tuple | set) and kind in (list, tuple, set):
        for item in value:
            _check(item, depth + 1, left)
    else:
        raise UnusableInputError(
            f"an input holds a value of type {kind.__name__}; inputs may hold plain Python values only"
        )
