"""Test inputs as text and back: function inputs as Python literals, stdin inputs as they are.

Never `eval`: texts are read by the parser of literals, with a cap on their size.
"""

from __future__ import annotations

import ast

from sandbox.values import MAX_INPUT_BYTES, encode_input


def input_text(value: object) -> str:
    """`(1, 'a')` -> `"(1,'a',)"`; text stays text. Raises ValueError for a value that has no literal."""
    return encode_input(value).decode("utf-8", "surrogatepass")


def parse_input(text: str) -> tuple[object, ...]:
    """The arguments that a literal text says; `"('abc',)"` -> `('abc',)`. Raises ValueError in words."""
    if len(text) > MAX_INPUT_BYTES:
        raise ValueError("an input is longer than 4 MiB")
    try:
        value = ast.literal_eval(text)
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError) as error:
        raise ValueError(f"an input is no Python literal: {text[:60]!r}") from error
    if not isinstance(value, tuple):
        raise ValueError(f"an input must be a tuple of arguments, as in \"('abc',)\", not {text[:60]!r}")
    return value
