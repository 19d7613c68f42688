"""Finds problems that say the same: repeated ones, and training problems that are also in a benchmark (contamination).

Two problems say the same if they share at least nine tenths of all their different words, stop words excluded; with
fewer than ten words that means all of them. A long problem also says the same as another one if half of its sequences
of eight words are in the other. The text that the model sees is compared: the statement and the starter code, which
contains HumanEval's text. Only hashes of words are kept, so that large sets fit in memory.
Not found: the same problem in other words or in another language.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable

from conself_local.problems.problem import Problem

MIN_WORD_OVERLAP = 0.9
"""Least Jaccard similarity of the words of two problems that say the same."""
_SHINGLE = 8
_MIN_WORDS_FOR_SHINGLES = 40
"""Number of words from which on sequences of words are compared too."""
_SHARED_SHINGLES = 0.5
_MIN_WORDS = 3
_WORD = re.compile(r"[^\W_]+")
_STOP_WORDS = frozenset(
    _WORD.findall(
        """a an the of in for from by with on as and or to that which this is are be it its you your so what how does
        do says write python function program code find return returns use using given name takes argument arguments
        complete docstring def arg1 arg2 arg3 arg4 list int str bool float import typing"""
    )
)


class Overlap:
    """An index of benchmark problems that training problems are compared with."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self._ids: list[str] = []
        self._words: list[frozenset[int]] = []
        self._by_word: dict[int, list[int]] = {}
        self._by_shingle: dict[int, list[int]] = {}
        for problem in problems:
            self.add(problem)

    def add(self, problem: Problem) -> None:
        """Add a benchmark problem; only its id and hashes of its words are kept."""
        number = len(self._ids)
        words = _words(problem)
        self._ids.append(problem.id)
        self._words.append(frozenset(map(hash, words)))
        for word in self._words[-1]:
            self._by_word.setdefault(word, []).append(number)
        for shingle in _shingles(words):
            self._by_shingle.setdefault(shingle, []).append(number)

    def find_similar(self, problem: Problem) -> str | None:
        """Return the id of a benchmark problem that says the same, or None."""
        words = _words(problem)
        unique = frozenset(map(hash, words))
        if len(unique) >= _MIN_WORDS:
            rarest = sorted(unique, key=lambda word: len(self._by_word.get(word, ())))
            # two sets that share this many words share at least one of the rarest few
            for word in rarest[: len(unique) - math.ceil(MIN_WORD_OVERLAP * len(unique)) + 1]:
                for number in self._by_word.get(word, ()):
                    if len(unique & self._words[number]) >= MIN_WORD_OVERLAP * len(unique | self._words[number]):
                        return self._ids[number]
        shingles = _shingles(words)
        counts = Counter(number for shingle in shingles for number in self._by_shingle.get(shingle, ()))
        if counts:
            number, count = counts.most_common(1)[0]
            if count >= _SHARED_SHINGLES * len(shingles):
                return self._ids[number]
        return None


class Repeats:
    """The problems seen so far, to find those that repeat an earlier one."""

    def __init__(self) -> None:
        self._seen: dict[int, str] = {}

    def find_earlier(self, problem: Problem) -> str | None:
        """Return the id of an earlier problem with the same words in the same order and the same entry point, or None.

        The problem is remembered for later calls. A problem with fewer than 3 words repeats nothing.
        """
        words = _words(problem)
        first = (
            self._seen.setdefault(hash((tuple(words), problem.entry_point)), problem.id)
            if len(words) >= _MIN_WORDS
            else problem.id
        )
        return None if first == problem.id else first


def exclusion_reason(problem: Problem, benchmarks: Overlap, repeats: Repeats) -> tuple[str, str] | None:
    """Return (kind, sentence) if a training problem repeats an earlier one or a benchmark problem, else None."""
    if first := repeats.find_earlier(problem):
        return "repeated", f"{problem.id} repeats {first}"
    if found := benchmarks.find_similar(problem):
        return "in a benchmark", f"{problem.id} says the same as {found}"
    return None


def _words(problem: Problem) -> list[str]:
    return [w for w in _WORD.findall(f"{problem.statement}\n{problem.starter_code}".lower()) if w not in _STOP_WORDS]


def _shingles(words: list[str]) -> set[int]:
    if len(words) < _MIN_WORDS_FOR_SHINGLES:
        return set()
    return {hash(tuple(words[i : i + _SHINGLE])) for i in range(len(words) - _SHINGLE + 1)}
