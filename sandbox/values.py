"""Test inputs as text for the child, and how many bytes of it are taken.

A value becomes a Python literal (infinity as 1e999, `nan` as a name); the child reads it by a parser of literals
(`child/literals.py`), never by `eval`. Covered types: None, bool, int, float, str, bytes, list, tuple, dict, set.
"""

from __future__ import annotations

MAX_INPUT_BYTES = 4 * 2**20


def encode_input(value: object) -> bytes:
    """The literal text of one input. Raises ValueError for a type that has none, or for one that is too large."""
    text = value if isinstance(value, str) else _literal(value, 0)
    raw = text.encode("utf-8", "surrogatepass")
    if len(raw) > MAX_INPUT_BYTES:
        raise ValueError(f"an input of {len(raw)} bytes is larger than {MAX_INPUT_BYTES}")
    return raw


def _literal(value: object, depth: int) -> str:
    if depth > 50:
        raise ValueError("an input is nested more than 50 deep")
    kind = type(value)
    if kind in (type(None), bool, int, bytes):
        return repr(value)
    if kind is str:
        return ascii(value)
    if isinstance(value, float) and kind is float:
        return repr(value).replace("inf", "1e999")
    if isinstance(value, list) and kind is list:
        return "[" + ",".join(_literal(v, depth + 1) for v in value) + "]"
    if isinstance(value, tuple) and kind is tuple:
        return "(" + "".join(_literal(v, depth + 1) + "," for v in value) + ")"
    if isinstance(value, set) and kind is set:
        return "{" + ",".join(sorted(_literal(v, depth + 1) for v in value)) + "}" if value else "set()"
    if isinstance(value, dict) and kind is dict:
        return "{" + ",".join(f"{_literal(k, depth + 1)}:{_literal(v, depth + 1)}" for k, v in value.items()) + "}"
    raise ValueError(f"an input holds a {kind.__name__}; plain Python values only")
