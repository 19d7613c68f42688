"""The format of a program's standard input, read off examples: lines of numbers and words, and the numbers that count.

Three shapes are known: a first line that says how many lines follow; a first line that says how many cases follow, each a
count and a line of so many tokens; and lines of a fixed meaning, some of which begin with how many tokens the next has.
All other tokens are values between what the examples show. Where the examples agree on none of it there is no format,
and a problem keeps its given inputs.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

_INTEGER = re.compile(r"-?\d{1,15}")
_NUMBER = re.compile(r"-?\d{1,15}(\.\d{1,12})?")
_MOST_LINES = 2_000

Lines = list[list[str]]


@dataclass(frozen=True)
class StdinFormat:
    shape: Literal["lines", "cases", "fixed"]
    counting: frozenset[int]
    """`fixed`: the lines, from 0, whose first token is how many tokens the next line has."""
    low: int
    high: int
    """Of all integers that are no counts."""
    alphabet: str
    """Of all tokens that are no numbers."""

    @classmethod
    def infer(cls, texts: Sequence[str]) -> StdinFormat | None:
        """None where an example is empty or too long, or where they hold neither a number nor a count."""
        examples = [_lines(text) for text in texts]
        if not all(examples) or any(len(lines) > _MOST_LINES for lines in examples):
            return None
        shape: Literal["lines", "cases", "fixed"] = "fixed"
        if all(_is_cases(lines) for lines in examples):
            shape = "cases"
        elif all(len(lines[0]) == 1 and _count(lines[0]) == len(lines) - 1 for lines in examples):
            shape = "lines"
        shortest = min(len(lines) for lines in examples)
        fixed = [i for i in range(shortest - 1) if all(_count(lines[i]) == len(lines[i + 1]) for lines in examples)]
        form = cls(shape, frozenset(fixed if shape == "fixed" else ()), 0, 0, "")
        tokens = [lines[i][k] for lines in examples for i, k in form._values(lines)]
        numbers = [int(token) for token in tokens if _INTEGER.fullmatch(token)]
        letters = {letter for token in tokens if not _NUMBER.fullmatch(token) for letter in token}
        if not numbers and shape == "fixed" and not fixed:
            return None
        return cls(shape, form.counting, min(numbers, default=0), max(numbers, default=0), "".join(sorted(letters)))

    def mutation(self, text: str, draw: random.Random) -> str:
        """The same lines with some values changed, a counted part grown or cut, and its count made right."""
        lines = _lines(text)
        unit = {"lines": 1, "cases": 2, "fixed": 0}[self.shape]
        if unit and len(lines) > 1 and draw.random() < 0.4:
            at = draw.randrange(1, len(lines), unit)
            if draw.random() < 0.5 and len(lines) > 1 + unit:
                del lines[at : at + unit]
            else:
                lines[at:at] = [list(line) for line in lines[at : at + unit]]
        for i in self._counting(lines):
            if draw.random() < 0.5:
                row = lines[i + 1]
                if draw.random() < 0.5 and len(row) > 1:
                    del row[draw.randrange(len(row))]
                else:
                    row.insert(draw.randrange(len(row) + 1), draw.choice(row))
        values = self._values(lines)
        for i, k in draw.sample(values, min(len(values), draw.choice((0, 1, 1, 2, 3)))):
            lines[i][k] = self._changed(lines[i][k], draw)
        for i in self._counting(lines):
            lines[i][0] = str(len(lines[i + 1]))
        if unit:
            lines[0][0] = str((len(lines) - 1) // unit)
        return "\n".join(" ".join(line) for line in lines) + "\n"

    def _counting(self, lines: Lines) -> list[int]:
        """The lines whose first token counts the tokens of the next."""
        return list(range(1, len(lines) - 1, 2)) if self.shape == "cases" else sorted(self.counting)

    def _values(self, lines: Lines) -> list[tuple[int, int]]:
        """(line, place) of every token that is no count."""
        counts = {*self._counting(lines), *([] if self.shape == "fixed" else [0])}
        return [(i, k) for i, line in enumerate(lines) for k in range(len(line)) if k or i not in counts]

    def _changed(self, token: str, draw: random.Random) -> str:
        if _INTEGER.fullmatch(token):
            low = 1 if self.low >= 1 else 0 if self.low >= 0 else 2 * self.low
            value, high = int(token), max(self.high, 10)
            return str(min(max(draw.choice((value - 1, value + 1, draw.randint(low, high))), low), high))
        if _NUMBER.fullmatch(token):
            return f"{float(token) * draw.choice((0.5, 2.0)):.2f}"
        at, letter = draw.randrange(len(token)), draw.choice(self.alphabet or token)
        longer, other = token[:at] + letter + token[at:], token[:at] + letter + token[at + 1 :]
        return draw.choice((token[::-1], longer, other, token[:at] + token[at + 1 :] or token))


def _lines(text: str) -> Lines:
    """Lines without those that are blank, each as its tokens."""
    return [line.split() for line in text.splitlines() if line.strip()]


def _count(line: Sequence[str]) -> int | None:
    """The number that a line begins with."""
    return int(line[0]) if _INTEGER.fullmatch(line[0]) else None


def _is_cases(lines: Lines) -> bool:
    """A number of cases, then two lines for each: a count, and what it counts."""
    if len(lines) < 3 or len(lines[0]) != 1 or _count(lines[0]) != (len(lines) - 1) / 2:
        return False
    return all(len(lines[i]) == 1 and _count(lines[i]) == len(lines[i + 1]) for i in range(1, len(lines), 2))
