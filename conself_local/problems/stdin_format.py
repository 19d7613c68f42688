"""Infers the format of a program's standard input from examples: lines of numbers and words, and which numbers count.

Three shapes are known:
- `lines`: the first line is the number of lines that follow;
- `cases`: the first line is the number of cases that follow, each a line with a count and a line with as many tokens;
- `fixed`: every line has a fixed meaning, and some begin with the number of tokens in the next line.
All other tokens are values, which mutations keep near the range of the examples. If the examples agree on no format,
a problem keeps its given inputs. Not inferred: any other dependence between values.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

_INTEGER = re.compile(r"-?\d{1,15}")
_NUMBER = re.compile(r"-?\d{1,15}(\.\d{1,12})?")
_MAX_LINES = 2_000

Lines = list[list[str]]


@dataclass(frozen=True)
class StdinFormat:
    """The format that all example inputs of a problem share."""

    shape: Literal["lines", "cases", "fixed"]
    counting: frozenset[int]
    """`fixed` only: the lines, counted from 0, whose first token is the number of tokens in the next line."""
    low: int
    """Smallest integer of the examples that is not a count; 0 if there is none."""
    high: int
    """Largest integer of the examples that is not a count; 0 if there is none."""
    alphabet: str
    """The different characters of all tokens that are not numbers, sorted."""

    @classmethod
    def infer(cls, texts: Sequence[str]) -> StdinFormat | None:
        """Return the format of the example texts.

        Returns None if an example is empty or has more than 2000 lines, or if they have neither an integer nor a count.
        """
        examples = [_lines(text) for text in texts]
        if not all(examples) or any(len(lines) > _MAX_LINES for lines in examples):
            return None
        shape: Literal["lines", "cases", "fixed"] = "fixed"
        if all(_is_cases(lines) for lines in examples):
            shape = "cases"
        elif all(len(lines[0]) == 1 and _count(lines[0]) == len(lines) - 1 for lines in examples):
            shape = "lines"
        shortest = min(len(lines) for lines in examples)
        fixed = [i for i in range(shortest - 1) if all(_count(lines[i]) == len(lines[i + 1]) for lines in examples)]
        counts_only = cls(shape, frozenset(fixed if shape == "fixed" else ()), 0, 0, "")
        tokens = [lines[i][k] for lines in examples for i, k in counts_only._values(lines)]
        numbers = [int(token) for token in tokens if _INTEGER.fullmatch(token)]
        letters = {letter for token in tokens if not _NUMBER.fullmatch(token) for letter in token}
        if not numbers and shape == "fixed" and not fixed:
            return None
        return cls(
            shape, counts_only.counting, min(numbers, default=0), max(numbers, default=0), "".join(sorted(letters))
        )

    def mutation(self, text: str, draw: random.Random) -> str:
        """Return the lines with some values changed, counted parts made longer or shorter, and the counts corrected."""
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
        """Return the lines whose first token counts the tokens of the next line."""
        return list(range(1, len(lines) - 1, 2)) if self.shape == "cases" else sorted(self.counting)

    def _values(self, lines: Lines) -> list[tuple[int, int]]:
        """Return (line, position in the line) of every token that is not a count."""
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
    """Return the lines that are not blank, each as a list of its tokens."""
    return [line.split() for line in text.splitlines() if line.strip()]


def _count(line: Sequence[str]) -> int | None:
    """Return the integer that a line begins with, or None."""
    return int(line[0]) if _INTEGER.fullmatch(line[0]) else None


def _is_cases(lines: Lines) -> bool:
    """Return whether the lines are a number of cases, then two lines per case: a count, and the tokens it counts."""
    if len(lines) < 3 or len(lines[0]) != 1 or _count(lines[0]) != (len(lines) - 1) / 2:
        return False
    return all(len(lines[i]) == 1 and _count(lines[i]) == len(lines[i + 1]) for i in range(1, len(lines), 2))
