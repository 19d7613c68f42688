"""Parent side: decide whether a text is a canonical text, without evaluating it.

A program can write any bytes to its channel, so the parent takes a function's answer only if the whole text follows the
grammar that `child/canonical.py` writes: printable ASCII, values nested at most 60 deep, nothing before or after.
Not covered: whether the value is the one that the program returned; a program can lie about its own answers.
"""

from __future__ import annotations

import re

MAX_DEPTH = 60
"""More than `child/canonical.py` writes, since a call nests its arguments."""

_FLOAT = r"-?(?:\d+\.\d+(?:e[+-]\d+)?|\d+e[+-]\d+|inf)|nan"
_INT = r"-?\d+(?!\d)"
_STRING = r"""'(?:[ -&(-\[\]-~]|\\.)*'|"(?:[ !#-\[\]-~]|\\.)*\""""
_CALLS = (
    rf"complex\((?:{_FLOAT}), (?:{_FLOAT})\)",
    rf"range\({_INT}, {_INT}, {_INT}\)",
    rf"Fraction\({_INT}, {_INT}\)",
    r"Decimal\('-?(?:\d[\d.]*(?:E[+-]?\d+)?|Infinity|s?NaN\d*)'\)",
    r"datetime\.(?:date|datetime|time|timedelta)\((?:(?:[a-z]+=)?-?\d+(?:, (?:[a-z]+=)?-?\d+)*)?\)",
    rf"bytearray\(b(?:{_STRING})\)",
)
_ATOM = re.compile(
    "|".join((rf"{_INT}(?![.e])", rf"b?(?:{_STRING})", "None|True|False", _FLOAT, r"set\(\)|frozenset\(\)", *_CALLS)),
    re.ASCII,
)
"""A value that is written without brackets; the frequent forms come first."""
_CLOSING = {"[": "]", "(": ")", "{": "}"}


def is_canonical(text: str) -> bool:
    """Return whether `text` is one whole canonical text. Time and memory are linear in its length."""
    if text.isdigit() and text.isascii():
        return True
    if not (text.isascii() and text.isprintable() and text):
        return False
    match = _ATOM.match(text)
    if match and match.end() == len(text):
        return True
    end = _Reader(text).value(0, 0)
    return end == len(text)


class _Reader:
    """A recursive-descent reader that returns the place behind what it read, or -1."""

    def __init__(self, text: str) -> None:
        self._text = text

    def value(self, at: int, depth: int) -> int:
        text = self._text
        if depth > MAX_DEPTH or at >= len(text):
            return -1
        if text.startswith("frozenset({", at):
            end = self._items(at + 10, depth)
            return end + 1 if end > 0 and text.startswith(")", end) else -1
        if text[at] in _CLOSING:
            return self._items(at, depth)
        match = _ATOM.match(text, at)
        return match.end() if match else -1

    def _items(self, at: int, depth: int) -> int:
        """Read a list, tuple, dict or set: items between brackets, separated by a comma and a space."""
        text, opening = self._text, self._text[at]
        closing, count, pairs = _CLOSING[opening], 0, 0
        at += 1
        while not text.startswith(closing, at):
            if count:
                if opening == "(" and count == 1 and text.startswith(",)", at):
                    return at + 2
                if not text.startswith(", ", at):
                    return -1
                at += 2
            at = self.value(at, depth + 1)
            if at < 0:
                return -1
            if opening == "{" and text.startswith(": ", at):
                pairs += 1
                at = self.value(at + 2, depth + 1)
                if at < 0:
                    return -1
            count += 1
        if pairs not in (0, count) or (opening == "(" and count == 1):
            return -1  # a set and a dict in one, or a parenthesised value that is no tuple
        return at + 1
