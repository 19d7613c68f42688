"""Problems that say the same: repeated ones, and training problems that stand in a benchmark too (contamination).

Two problems are alike where they share nine tenths of their words (of few words: all), the usual ones left out; a long one is
like another also where half of its sequences of eight words stand in the other. What is shown of a problem counts: the
statement, and the starter code, which holds HumanEval's text. Only hashed words are kept, so that large sets fit.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable

from conself_local.problems.problem import Problem

ALIKE = 0.9
_SHINGLE = 8
_LONG = 40
"""Words from which on sequences are compared too."""
_SHARED_SHINGLES = 0.5
_LEAST_WORDS = 3
_WORD = re.compile(r"[^\W_]+")
_USUAL = frozenset(
    _WORD.findall(
        """a an the of in for from by with on as and or to that which this is are be it its you your so what how does do says write
        python function program code find return returns use using given name takes argument arguments complete docstring def
        arg1 arg2 arg3 arg4 list int str bool float import typing"""
    )
)


class Overlap:
    """Benchmark problems to compare with."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self._ids: list[str] = []
        self._words: list[frozenset[int]] = []
        self._by_word: dict[int, list[int]] = {}
        self._by_shingle: dict[int, list[int]] = {}
        for problem in problems:
            self.add(problem)

    def add(self, problem: Problem) -> None:
        number = len(self._ids)
        words = _words(problem)
        self._ids.append(problem.id)
        self._words.append(frozenset(map(hash, words)))
        for word in self._words[-1]:
            self._by_word.setdefault(word, []).append(number)
        for shingle in _shingles(words):
            self._by_shingle.setdefault(shingle, []).append(number)

    def like(self, problem: Problem) -> str | None:
        """The id of a problem that says the same, or None."""
        words = _words(problem)
        unique = frozenset(map(hash, words))
        if len(unique) >= _LEAST_WORDS:
            rarest = sorted(unique, key=lambda word: len(self._by_word.get(word, ())))
            # of two sets that share so many words, one of the rarest few is shared
            for word in rarest[: len(unique) - math.ceil(ALIKE * len(unique)) + 1]:
                for number in self._by_word.get(word, ()):
                    if len(unique & self._words[number]) >= ALIKE * len(unique | self._words[number]):
                        return self._ids[number]
        shingles = _shingles(words)
        counts = Counter(number for shingle in shingles for number in self._by_shingle.get(shingle, ()))
        if counts:
            number, count = counts.most_common(1)[0]
            if count >= _SHARED_SHINGLES * len(shingles):
                return self._ids[number]
        return None


class Repeats:
    """Told problem by problem whether one with the same words came before."""

    def __init__(self) -> None:
        self._seen: dict[int, str] = {}

    def before(self, problem: Problem) -> str | None:
        """The id of an earlier problem with the same words and the same entry point."""
        words = _words(problem)
        first = (
            self._seen.setdefault(hash((tuple(words), problem.entry_point)), problem.id)
            if len(words) >= _LEAST_WORDS
            else problem.id
        )
        return None if first == problem.id else first


def exclusion_reason(problem: Problem, benchmarks: Overlap, repeats: Repeats) -> tuple[str, str] | None:
    """(kind, sentence) for a training problem that repeats an earlier one or says what a benchmark says; None: it may stay."""
    if first := repeats.before(problem):
        return "repeated", f"{problem.id} repeats {first}"
    if found := benchmarks.like(problem):
        return "in a benchmark", f"{problem.id} says what {found} says"
    return None


def _words(problem: Problem) -> list[str]:
    return [w for w in _WORD.findall(f"{problem.statement}\n{problem.starter_code}".lower()) if w not in _USUAL]


def _shingles(words: list[str]) -> set[int]:
    if len(words) < _LONG:
        return set()
    return {hash(tuple(words[i : i + _SHINGLE])) for i in range(len(words) - _SHINGLE + 1)}
