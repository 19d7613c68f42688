"""Child side: write a value as canonical text, by exact type and with limits; a Python literal if there is one.

`canonical_text({'b': (1, -0.0)}, 64)` -> `"{'b': (1, -0.0)}"`. The names that this code needs are bound at import,
before any program text runs: a program that patches builtins changes its own values, but not this code.
A value of a subclass (a Counter, a namedtuple, an IntEnum) is written as its plain base type holds it, read through the
base type's own methods, so that a subclass that lies about itself gains nothing.
Not covered, and therefore refused: cycles, endless iterables and other objects of the program's classes.
"""

_type, _ascii, _sorted, _len, _str = type, ascii, sorted, len, str
_int, _float, _bool, _bytes, _bytearray = int, float, bool, bytes, bytearray
_list, _tuple, _dict, _set, _frozenset, _complex, _range = list, tuple, dict, set, frozenset, complex, range
_int_repr, _float_repr, _bytes_repr = int.__repr__, float.__repr__, bytes.__repr__
_bit_length, _dict_items = int.bit_length, dict.items
_getattr, _isascii = getattr, str.isascii
_base_classes = type.__dict__["__mro__"].__get__
_real, _imaginary = complex.real.__get__, complex.imag.__get__
_list_items, _tuple_items, _set_items = list.__iter__, tuple.__iter__, set.__iter__
_frozenset_items = frozenset.__iter__
_TO_BASE = {
    int: int.__int__,
    float: float.__float__,
    str: "".__add__,
    list: lambda value: [*_list_items(value)],
    tuple: lambda value: (*_tuple_items(value),),
    dict: lambda value: _dict(_dict_items(value)),
    set: lambda value: {*_set_items(value)},
    frozenset: lambda value: _frozenset(_frozenset_items(value)),
    bytes: b"".__add__,
    bytearray: bytearray().__add__,
    complex: lambda value: _complex(_real(value), _imaginary(value)),
}
"""Plain type -> what makes an exact copy of a value of a subclass, by the plain type's own methods."""
MAX_DEPTH = 50
MAX_CALL_BITS = 10_000


_WRITERS = {}
"""Exact type -> the function that writes its values, for standard types whose modules the program mentions."""


def bind_standard_types(source):
    """Register writers for dates, decimals and fractions if `source` mentions their modules; others cost nothing.

    Call this before any program text runs.
    """
    if "datetime" in source or "calendar" in source:
        import datetime

        for kind in (datetime.date, datetime.datetime, datetime.time, datetime.timedelta):
            _WRITERS[kind] = kind.__repr__
    if "decimal" in source or "fractions" in source or "statistics" in source:
        import decimal
        import fractions

        to_text, numerator, denominator = (
            decimal.Decimal.__str__,
            fractions.Fraction.numerator,
            fractions.Fraction.denominator,
        )
        _WRITERS[decimal.Decimal] = lambda value: "Decimal('" + to_text(value).replace("e", "E") + "')"
        _WRITERS[fractions.Fraction] = lambda value: (
            "Fraction(" + _small(numerator.fget(value)) + ", " + _small(denominator.fget(value)) + ")"
        )


def _small(number):
    if _bit_length(number) > MAX_CALL_BITS:
        raise TooLong
    return _int_repr(number)


class NoCanonicalText(Exception):
    """The value's type has no canonical text, or the value is nested too deep."""


class TooLong(Exception):
    """The text would be longer than the limit."""


def canonical_text(value, limit):
    """Return the canonical text of `value`: at most `limit` characters, all ASCII. Raises NoCanonicalText, TooLong."""
    budget = [limit]
    text = _text(value, 0, budget)
    if _len(text) > limit:
        raise TooLong
    return text


def _spend(budget, n):
    budget[0] -= n
    if budget[0] < 0:
        raise TooLong


def _text(value, depth, budget):
    if depth > MAX_DEPTH:
        raise NoCanonicalText
    kind = _type(value)
    if value is None or kind is _bool:
        _spend(budget, 4)
        return "None" if value is None else "True" if value else "False"
    if kind is _int:
        _spend(budget, _bit_length(value) // 4 + 1)
        return _int_repr(value)
    if kind is _float:
        _spend(budget, 3)
        return _float_repr(value)
    if kind is _str:
        _spend(budget, _len(value) + 2)
        text = _ascii(value)
        _spend(budget, _len(text) - _len(value) - 2)
        return text
    if kind is _list:
        return "[" + ", ".join([_text(v, depth + 1, budget) for v in _counted(value, budget)]) + "]"
    if kind is _tuple:
        parts = [_text(v, depth + 1, budget) for v in _counted(value, budget)]
        return "(" + ", ".join(parts) + (",)" if _len(parts) == 1 else ")")
    if kind is _dict:
        _spend(budget, 2 * _len(value))
        items = [(_text(k, depth + 1, budget), _text(v, depth + 1, budget)) for k, v in _dict_items(value)]
        _check_distinct([key for key, _ in items])
        return "{" + ", ".join([key + ": " + text for key, text in items]) + "}"
    if kind is _set or kind is _frozenset:
        parts = _sorted([_text(v, depth + 1, budget) for v in _counted(value, budget)])
        _check_distinct(parts)
        inner = "{" + ", ".join(parts) + "}" if parts else ""
        if kind is _frozenset:
            return "frozenset(" + inner + ")"
        return inner or "set()"
    if kind is _bytes or kind is _bytearray:
        _spend(budget, _len(value))
        text = _bytes_repr(_bytes(value))
        return text if kind is _bytes else "bytearray(" + text + ")"
    return _call_text(value, kind, depth, budget)


def _call_text(value, kind, depth, budget):
    _spend(budget, 10)
    if kind is _complex:
        return "complex(" + _float_repr(value.real) + ", " + _float_repr(value.imag) + ")"
    if kind is _range:
        return "range(" + ", ".join([_text(v, depth, budget) for v in (value.start, value.stop, value.step)]) + ")"
    write = _WRITERS.get(kind)
    if write is None:
        return _text_as_base(value, kind, depth, budget)
    if _getattr(value, "tzinfo", None) is not None:
        raise NoCanonicalText
    text = write(value)
    if _type(text) is not _str or not _isascii(text):
        raise NoCanonicalText
    _spend(budget, _len(text))
    return text


def _text_as_base(value, kind, depth, budget):
    for base in _base_classes(kind):
        to_base = None if base is kind else _TO_BASE.get(base)
        if to_base:
            plain = to_base(value)
            if _type(plain) is base:
                return _text(plain, depth, budget)
    raise NoCanonicalText


def _check_distinct(texts):
    """Refuse elements or keys that only claim to differ, such as two objects with the value 1, or two NaN."""
    if _len(_set(texts)) < _len(texts):
        raise NoCanonicalText


def _counted(values, budget):
    _spend(budget, 2 * _len(values))
    return values
