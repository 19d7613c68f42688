"""Makes new test inputs by mutating given ones, within the properties that all given inputs share.

The properties are inferred from all given inputs together: signs, lengths, alphabets, order, distinct items, and a
number that is always the length of another argument. An input that the problem does not allow says nothing about the
programs that solve it, so a mutated input keeps these properties. The same seed gives the same inputs. Values are
constructed, never evaluated. Not decided here: which mutated inputs are worth keeping (`stages/augment.py`).
"""

from __future__ import annotations

import contextlib
import itertools
import math
import random
from collections.abc import Iterator, Sequence
from typing import Any

from conself_local.problems.literals import input_text
from conself_local.problems.stdin_format import StdinFormat

_TRIES = 12
"""At most 64 times as many mutations are tried, because many give an input that is already known."""
_MAX_ITEMS = 40
_GROWTH_FACTOR = 2
"""Factor by which a number may exceed the largest given one: a recursive solution should still end."""

_MAX_DEPTH = 6
"""Containers in containers that are looked into; deeper values stay as they are."""
_MAX_FLOAT = 1e300
"""Limit for the absolute value of floats that are made."""


def mutate_inputs(given: Sequence[object], wanted: int, seed: str) -> list[object]:
    """Return at most `wanted` mutated inputs that are not among `given`.

    given: tuples of arguments, or texts for standard input. Fewer or none are returned if the given inputs leave no
    room for more, or if no format can be inferred from texts.
    """
    draw = random.Random(seed)
    known = {input_text(one) for one in given}
    found: list[object] = []
    for one in _mutations(given, draw):
        if len(found) == wanted:
            break
        try:
            text = input_text(one)
        except ValueError:  # the mutated input is too large
            continue
        if text not in known:
            known.add(text)
            found.append(one)
    return found


def _mutations(given: Sequence[object], draw: random.Random) -> Iterator[object]:
    """Yield mutated inputs, at most `64 * _TRIES` of them, with repetitions."""
    texts = [one for one in given if isinstance(one, str)]
    calls = [one for one in given if isinstance(one, tuple)]
    tries = _TRIES * 64
    if texts:
        stdin_format = StdinFormat.infer(texts)
        for _ in range(tries if stdin_format else 0):
            assert stdin_format is not None, "checked by the range"
            yield stdin_format.mutation(draw.choice(texts), draw)
    elif calls:
        length = max(len(one) for one in calls)
        same = [one for one in calls if len(one) == length]
        positions = [_Pool([one[i] for one in same]) for i in range(length)]
        lengths = _lengths(same)
        for _ in range(tries if length else 0):
            yield _mutated(draw.choice(same), positions, lengths, draw)


def _lengths(calls: Sequence[tuple[object, ...]]) -> dict[int, tuple[int, bool]]:
    """Return position of a number -> (position of an argument with a length, whether the number is always that length).

    If the number is not always the length, it is between 0 and the length in every call.
    """
    found: dict[int, tuple[int, bool]] = {}
    for i in range(len(calls[0])):
        if not all(type(one[i]) is int for one in calls):
            continue
        for j in range(len(calls[0])):
            if j == i or not all(isinstance(one[j], list | tuple | str | set | dict) for one in calls):
                continue
            pairs: list[tuple[Any, int]] = [(one[i], len(one[j])) for one in calls]  # type: ignore[arg-type]
            if all(number == size for number, size in pairs):
                found[i] = (j, True)
                break
            if len(pairs) > 1 and all(0 <= number <= size for number, size in pairs):
                found.setdefault(i, (j, False))
    return found


def _mutated(
    call: tuple[object, ...], positions: Sequence[_Pool], lengths: dict[int, tuple[int, bool]], draw: random.Random
) -> tuple[object, ...]:
    """Return a call with one or two arguments changed.

    Sometimes each argument is first replaced by that of a random given call. Lengths are corrected at the end.
    """
    changed: list[Any] = list(call)
    if draw.random() < 0.2:
        changed = [draw.choice(pool.values) for pool in positions]
    free = [i for i in range(len(call)) if not lengths.get(i, (0, False))[1]] or list(range(len(call)))
    for i in draw.sample(free, min(len(free), draw.choice((1, 1, 2)))):
        changed[i] = positions[i].change(changed[i], draw)
    for i, (j, always) in lengths.items():
        size = len(changed[j])
        changed[i] = size if always else min(max(changed[i], 0), size)
    return tuple(changed)


class _Pool:
    """All values at one position of the given inputs, and the properties that they share."""

    def __init__(self, values: Sequence[Any], depth: int = 0) -> None:
        self.values = list(values)
        deeper = depth + 1
        numbers = [v for v in values if type(v) is int or (type(v) is float and math.isfinite(v))]
        self._low: float = min(numbers, default=0)
        self._high: float = max(numbers, default=0)
        texts = [v for v in values if isinstance(v, str)]
        self._alphabet = sorted({c for text in texts for c in text})
        self._sequences = [v for v in values if isinstance(v, list | tuple | set)]
        sized = [*self._sequences, *texts, *(v for v in values if isinstance(v, dict))]
        self._shortest = min((len(v) for v in sized), default=0)
        self._same_size = len({len(v) for v in sized}) == 1 and len(sized) > 1
        items = [item for v in self._sequences for item in v]
        records = [v for v in self._sequences if isinstance(v, tuple)]
        self._record = len(records) == len(self._sequences) and self._same_size
        is_wide = self._record and depth < _MAX_DEPTH
        self._columns = [_Pool([v[i] for v in records], deeper) for i in range(self._shortest)] if is_wide else []
        self._items = _Pool(items, deeper) if items and not self._record and depth < _MAX_DEPTH else None
        ordered = [v for v in self._sequences if isinstance(v, list | tuple) and len(v) > 2]
        self._ascending = bool(ordered) and all(_is_ascending(v) for v in ordered)
        self._distinct = bool(ordered) and all(len({repr(item) for item in v}) == len(v) for v in ordered)
        tables = [v for v in values if isinstance(v, dict)]
        has_room = any(tables) and depth < _MAX_DEPTH
        self._of_keys = _Pool([key for t in tables for key in t], deeper) if has_room else None
        self._of_values = _Pool([value for t in tables for value in t.values()], deeper) if has_room else None
        self._row_lengths = {len(item) for item in items if isinstance(item, list | tuple)}

    def change(self, value: Any, draw: random.Random) -> Any:
        """Return a mutation of `value`, or sometimes of another value at this position, of the same type."""
        if draw.random() < 0.15:
            same = [v for v in self.values if type(v) is type(value)]
            value = draw.choice(same or [value])
        if isinstance(value, bool):
            return not value
        if isinstance(value, int):
            return self._number(value, draw)
        if isinstance(value, float):
            return self._float(value, draw)
        if isinstance(value, str):
            return self._text(value, draw)
        if isinstance(value, list | tuple):
            changed = self._sequence(list(value), draw)
            return tuple(changed) if isinstance(value, tuple) else changed
        if isinstance(value, set):
            return set(self._sequence(sorted(value, key=repr), draw))
        if isinstance(value, dict):
            return self._table(value, draw)
        return value

    def _number(self, value: int, draw: random.Random) -> int:
        low = 1 if self._low >= 1 else 0 if self._low >= 0 else _widened(self._low)
        high = max(_widened(self._high), 10)
        span = draw.randint(int(min(low, value)), int(high))
        new = draw.choice((value - 1, value + 1, value + draw.randint(2, 9), value // 2, 2 * value, span, span))
        return min(max(new, int(low)), int(high))

    def _float(self, value: float, draw: random.Random) -> float:
        if not math.isfinite(value):
            return value
        low = 0.0 if self._low >= 0 else float(max(_widened(self._low), -_MAX_FLOAT))
        high = float(min(max(_widened(self._high), 1), _MAX_FLOAT))
        drawn = round(draw.uniform(low, high), 2)
        new = draw.choice((value / 2, value * 2, value + 1, value - 1, float(round(value)), drawn))
        return min(max(new, low), high)

    def _text(self, text: str, draw: random.Random) -> str:
        letters = self._alphabet or ["a"]
        at = draw.randrange(len(text) + 1)
        options = [
            text[:at] + draw.choice(letters) + text[at:],
            text[:at] + text[at + 1 :],
            text[:at] + draw.choice(letters) + text[at + 1 :],
            text[::-1],
            text[:at] + text[max(0, at - 1) :],
            text[:at] + text[max(0, at - 3) : at] + text[at:],
            "".join(draw.sample(text, len(text))),
            text[at:] + text[:at],
            text[: max(1, len(text) // 2)],
        ]
        if any(letter.isupper() for letter in letters) and any(letter.islower() for letter in letters):
            options.append(text.swapcase())
        new = draw.choice([draw.choice(options), text + text, draw.choice(options)])
        if self._same_size:
            new = (new + text)[: len(text)]
        return new if len(new) >= min(1, self._shortest) else text

    def _sequence(self, items: list[Any], draw: random.Random) -> list[Any]:
        if self._record and len(items) == len(self._columns):
            at = draw.randrange(len(items)) if items else 0
            return [self._columns[i].change(item, draw) if i == at else item for i, item in enumerate(items)]
        if self._items is None:
            return items
        if not items:
            return [draw.choice(self._items.values)]
        at = draw.randrange(len(items))
        changed_item = self._items.change(items[at], draw)
        if (
            isinstance(changed_item, list | tuple)
            and len(self._row_lengths) == 1
            and len(changed_item) != len(items[at])
        ):
            changed_item = items[at]
        keep_size = self._same_size and len(self._sequences) > 2
        options = [
            [*items[:at], changed_item, *items[at + 1 :]],
            [*items[:at], draw.choice(self._items.values), *items[at + 1 :]],
            items[::-1],
            draw.sample(items, len(items)),
        ]
        if not keep_size:
            options += [
                items[:at] + items[at + 1 :],
                items[: at + 1],
                [*items[:at], items[at], *items[at:]],
                [*items, draw.choice(self._items.values)],
                [*items[:at], changed_item, *items[at:]],
                [*items, *items[::-1]],
            ]
        new = draw.choice(options)[:_MAX_ITEMS]
        if self._distinct:
            new = list({repr(item): item for item in new}.values())
        if self._ascending:
            with contextlib.suppress(TypeError):
                new = sorted(new)
        return new if len(new) >= min(1, self._shortest) else items

    def _table(self, table: dict[Any, Any], draw: random.Random) -> dict[Any, Any]:
        if not table or self._of_keys is None or self._of_values is None:
            return table
        key = draw.choice(list(table))
        if draw.random() < 0.25 and len(table) > 1:
            return {k: v for k, v in table.items() if k != key}
        if draw.random() < 0.25:
            return table | {draw.choice(self._of_keys.values): draw.choice(self._of_values.values)}
        return table | {key: self._of_values.change(table[key], draw)}


def _widened(bound: float) -> float:
    """Return `_GROWTH_FACTOR` times the bound; a float beyond `_MAX_FLOAT` is returned unchanged."""
    return bound if isinstance(bound, float) and abs(bound) > _MAX_FLOAT else _GROWTH_FACTOR * bound


def _is_ascending(values: Sequence[Any]) -> bool:
    try:
        return all(a <= b for a, b in itertools.pairwise(values))
    except TypeError:
        return False
