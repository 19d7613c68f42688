"""Parent side: decide whether a text is a canonical text, without evaluating it.

A program can write any bytes to its channel, so the parent takes a function's answer only if it is, character by
character, what `child/canonical.py` writes for some value: so two texts of one value are the same text.
Not covered: whether the value is the one that the program returned; a program can lie about its own answers.
"""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Callable
from decimal import Decimal

MAX_DEPTH = 60
"""More than `child/canonical.py` writes, since a call nests its arguments."""

_FLOAT = r"(?:-?(?:\d++\.\d++(?:e[+-]\d++)?|\d++e[+-]\d++|inf)|nan)"
_INT = r"(?:-?[1-9]\d*+|0)"
_ESCAPE = r"\\(?:[\\nrt]|x(?:0[0-8bcef]|1[0-9a-f]|7f|[89a-f][0-9a-f]))"
_WIDE = r"\\(?:u(?!00)[0-9a-f]{4}|U(?:000[1-9a-f]|0010)[0-9a-f]{4})"
_TEXT = rf"""(?:'(?:[ -&(-\[\]-~]|\\'|{_ESCAPE}|{_WIDE})*+'|"(?:[ !#-\[\]-~]|{_ESCAPE}|{_WIDE})*+")"""
_BYTES = rf"""(?:b'(?:[ -&(-\[\]-~]|\\'|{_ESCAPE})*+'|b"(?:[ !#-\[\]-~]|{_ESCAPE})*+")"""
_ARGUMENTS = r"(?:(?:[a-z]+=)?-?\d{1,12}(?:, (?:[a-z]+=)?-?\d{1,12})*+)?"


def _always(token: str) -> bool:
    return True


def _is_shortest_float(token: str) -> bool:
    return repr(float(token)) == token


def _has_the_right_quotes(token: str) -> bool:
    """Return whether the text stands between double quotes exactly if it contains single quotes and no double ones."""
    inner = token[token.index(token[-1]) + 1 : -1]
    return "'" in inner if token[-1] == '"' else "'" not in inner or '"' in inner


def _is_call_of_floats(token: str) -> bool:
    return all(_is_shortest_float(part) for part in token[len("complex(") : -1].split(", "))


def _is_range(token: str) -> bool:
    return not token.endswith(", 0)")


def _is_reduced_fraction(token: str) -> bool:
    numerator, denominator = token[len("Fraction(") : -1].split(", ")
    return int(denominator) > 0 and math.gcd(int(numerator), int(denominator)) == 1


def _is_decimal(token: str) -> bool:
    inner = token[len("Decimal('") : -2]
    return str(Decimal(inner)) == inner


def _is_date(token: str) -> bool:
    kind, _, inner = token[len("datetime.") : -1].partition("(")
    given: list[int] = []
    named: dict[str, int] = {}
    for part in filter(None, inner.split(", ")):
        name, equals, number = part.rpartition("=")
        if equals:
            named[name] = int(number)
        else:
            given.append(int(number))
    return repr(getattr(datetime, kind)(*given, **named)) == token


def _is_bytearray(token: str) -> bool:
    return _has_the_right_quotes(token[len("bytearray(") : -1])


_KINDS: dict[str, tuple[str, Callable[[str], bool]]] = {
    "int": (rf"{_INT}(?![\d.e])", _always),
    "text": (_TEXT, _has_the_right_quotes),
    "constant": ("None|True|False", _always),
    "float": (_FLOAT, _is_shortest_float),
    "bytes": (_BYTES, _has_the_right_quotes),
    "set": (r"set\(\)", _always),
    "frozenset": (r"frozenset\(\)", _always),
    "complex": (rf"complex\({_FLOAT}, {_FLOAT}\)", _is_call_of_floats),
    "range": (rf"range\({_INT}, {_INT}, {_INT}\)", _is_range),
    "fraction": (rf"Fraction\({_INT}, {_INT}\)", _is_reduced_fraction),
    "decimal": (r"Decimal\('-?(?:\d[\d.]*+(?:E[+-]\d++)?|Infinity|s?NaN\d*+)'\)", _is_decimal),
    "date": (rf"datetime\.(?:date|datetime|time|timedelta)\({_ARGUMENTS}\)", _is_date),
    "bytearray": (rf"bytearray\({_BYTES}\)", _is_bytearray),
}
"""Kind of a value that is written without items -> its form, and what else must hold; the frequent ones come first."""
_ATOM = re.compile("|".join(f"(?P<{name}>{form})" for name, (form, _) in _KINDS.items()), re.ASCII)
_NOT_HASHABLE = ("set", "bytearray")
_CLOSING = {"[": "]", "(": ")", "{": "}"}


def is_canonical(text: str) -> bool:
    """Return whether `text` is one whole canonical text. Time and memory are linear in its length."""
    if not (text.isascii() and text.isprintable() and text):
        return False
    return _Reader(text).value(0, 0, hashable=False) == len(text)


class _Reader:
    """A recursive-descent reader that returns the place behind what it read, or -1."""

    def __init__(self, text: str) -> None:
        self._text = text

    def value(self, at: int, depth: int, hashable: bool) -> int:
        """Read one value, which must be hashable if it is part of a set or of a key."""
        text = self._text
        if depth > MAX_DEPTH or at >= len(text):
            return -1
        if text.startswith("frozenset({", at):
            end = self._set(at + len("frozenset({"), depth)
            return end + 1 if end > 0 and text.startswith(")", end) else -1
        if text[at] in "[(":
            return -1 if hashable and text[at] == "[" else self._sequence(at, depth, hashable)
        if text[at] == "{":
            return -1 if hashable else self._set_or_dict(at + 1, depth)
        match = _ATOM.match(text, at)
        if not match or (hashable and match.lastgroup in _NOT_HASHABLE):
            return -1
        assert match.lastgroup, "every alternative has a name"
        try:
            return match.end() if _KINDS[match.lastgroup][1](match[0]) else -1
        except (ValueError, TypeError, ArithmeticError):
            return -1  # no such number or date

    def _sequence(self, at: int, depth: int, hashable: bool) -> int:
        """Read a list or a tuple."""
        text, closing, count = self._text, _CLOSING[self._text[at]], 0
        at += 1
        while not text.startswith(closing, at):
            if count:
                if closing == ")" and count == 1 and text.startswith(",)", at):
                    return at + 2
                if not text.startswith(", ", at):
                    return -1
                at += 2
            at = self.value(at, depth + 1, hashable)
            if at < 0:
                return -1
            count += 1
        return -1 if closing == ")" and count == 1 else at + 1

    def _set_or_dict(self, at: int, depth: int) -> int:
        """Read what follows `{`: a set, whose texts ascend, or a dict, which has each key once."""
        text = self._text
        if text.startswith("}", at):
            return at + 1
        end = self.value(at, depth + 1, hashable=True)
        return self._dict(at, depth) if end > 0 and text.startswith(": ", end) else self._set(at, depth)

    def _set(self, at: int, depth: int) -> int:
        text, before = self._text, ""
        while True:
            end = self.value(at, depth + 1, hashable=True)
            if end < 0 or text[at:end] <= before:
                return -1
            if text.startswith("}", end):
                return end + 1
            if not text.startswith(", ", end):
                return -1
            before, at = text[at:end], end + 2

    def _dict(self, at: int, depth: int) -> int:
        text, keys = self._text, set()
        while True:
            end = self.value(at, depth + 1, hashable=True)
            if end < 0 or not text.startswith(": ", end) or text[at:end] in keys:
                return -1
            keys.add(text[at:end])
            at = self.value(end + 2, depth + 1, hashable=False)
            if at < 0:
                return -1
            if text.startswith("}", at):
                return at + 1
            if not text.startswith(", ", at):
                return -1
            at += 2
