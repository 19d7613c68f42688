"""Convert test inputs to text and back: function inputs as Python literals, stdin inputs unchanged.

Texts are never evaluated as code: `ast.literal_eval` reads them. Python's parser needs up to 500 times the memory of a
text, and some seconds per megabyte, so the length of a text is limited before it is parsed.
"""

from __future__ import annotations

import ast
import warnings

from conself_local.foreign_files import PARSER_ERRORS, reason
from sandbox.values import UnusableInputError, check_plain, check_size

MAX_LITERAL_CHARACTERS = 256_000
"""Longest literal of one input, and longest code of one record that is parsed."""
MAX_LITERALS_CHARACTERS = 2_000_000
"""Longest literals of one problem together."""


def input_text(value: object) -> str:
    """Return an input as text: `(1, 'a')` -> `"(1,'a',)"`; a text is returned unchanged.

    Raises UnusableInputError for a value that has no literal or one that is too long, or for a text that is too large.
    """
    if isinstance(value, str):
        check_size(value.encode("utf-8", "surrogatepass"), is_text=True)
        return value
    check_plain(value)
    text = _literal(value)
    if len(text) > MAX_LITERAL_CHARACTERS:
        raise UnusableInputError(
            f"an input of {len(text)} characters is larger than the limit of {MAX_LITERAL_CHARACTERS} characters"
        )
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

    Raises ValueError, with a sentence for the user, if the text is too long or not the literal of a tuple.
    """
    if len(text) > MAX_LITERAL_CHARACTERS:
        raise ValueError(f"an input is longer than {MAX_LITERAL_CHARACTERS} characters")
    try:
        with warnings.catch_warnings(action="ignore"):
            value = ast.literal_eval(text)
    except PARSER_ERRORS as error:
        raise ValueError(f"an input is not a Python literal: {text[:60]!r}") from error
    if not isinstance(value, tuple):
        raise ValueError(f"an input must be a tuple of arguments, as in \"('abc',)\", not {text[:60]!r}")
    return value


def parse_code(text: str) -> ast.Module:
    """Return the syntax tree of foreign code. Raises ValueError if it is too long or does not parse."""
    if len(text) > MAX_LITERAL_CHARACTERS:
        raise ValueError(f"its code is longer than {MAX_LITERAL_CHARACTERS} characters")
    try:
        with warnings.catch_warnings(action="ignore"):
            return ast.parse(text)
    except PARSER_ERRORS as error:
        raise ValueError(f"its code does not parse: {reason(error)}") from error


def parses(text: str) -> bool:
    """Return whether `parse_code` accepts a text."""
    try:
        parse_code(text)
    except ValueError:
        return False
    return True
