"""Converts test inputs to text and back: function inputs as Python literals, stdin inputs unchanged.

Texts are never evaluated as code: `ast.literal_eval` reads them, with a limit on their size.
"""

from __future__ import annotations

import ast

from sandbox.values import MAX_INPUT_BYTES, UnusableInputError, check_plain, check_size


def input_text(value: object) -> str:
    """Return an input as text: `(1, 'a')` -> `"(1,'a',)"`; a text is returned unchanged.

    Raises UnusableInputError for a value that has no literal, or for a text of more than 4 MiB.
    """
    if isinstance(value, str):
        text = value
    else:
        check_plain(value)
        text = _literal(value)
    check_size(text.encode("utf-8", "surrogatepass"))
    return text


def _literal(value: object) -> str:
    """Return the literal of a plain value; infinity becomes 1e999, which every reader of literals accepts."""
    if isinstance(value, str):
        return ascii(value)
    if isinstance(value, float):
        if value != value:
            raise UnusableInputError("NaN cannot be an input: it has no literal")
        return repr(value).replace("inf", "1e999")
    if isinstance(value, list):
        return "[" + ",".join(_literal(v) for v in value) + "]"
    if isinstance(value, tuple):
        return "(" + "".join(_literal(v) + "," for v in value) + ")"
    if isinstance(value, set):
        return "{" + ",".join(sorted(_literal(v) for v in value)) + "}" if value else "set()"
    if isinstance(value, dict):
        return "{" + ",".join(f"{_literal(k)}:{_literal(v)}" for k, v in value.items()) + "}"
    return repr(value)


def parse_input(text: str) -> tuple[object, ...]:
    """Return the tuple of arguments that a text holds as a literal: `"('abc',)"` -> `('abc',)`.

    Raises ValueError, with a sentence for the user, if the text is longer than 4 MiB or not the literal of a tuple.
    """
    if len(text) > MAX_INPUT_BYTES:
        raise ValueError("an input is longer than 4 MiB")
    try:
        value = ast.literal_eval(text)
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError) as error:
        raise ValueError(f"an input is not a Python literal: {text[:60]!r}") from error
    if not isinstance(value, tuple):
        raise ValueError(f"an input must be a tuple of arguments, as in \"('abc',)\", not {text[:60]!r}")
    return value
