"""Turn the inputs of MBPP+ back into the types that its tasks take.

JSON has no tuples, sets and complex numbers, so EvalPlus writes them as lists and texts, and turns them back when it
loads its file: which argument of which task has which type is known by the number of the task. The numbers here are
those of `mbpp_deserialize_inputs` in EvalPlus 0.3.1 (Liu et al. 2023). HumanEval+ needs none of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Convert = Callable[[Any], object]


def typed_inputs(task: int, inputs: list[list[Any]]) -> list[tuple[object, ...]]:
    """Return the arguments of each call of an MBPP+ task, with the types of the task. Raises ValueError or TypeError.

    `typed_inputs(106, [[[5, 6], [9, 10]]])` -> `[([5, 6], (9, 10))]`.
    """
    every = next((convert for convert, tasks in _EVERY if task in tasks), None)
    first = next((convert for convert, tasks in _FIRST if task in tasks), None)
    found = []
    for arguments in inputs:
        typed: list[Any] = [every(argument) for argument in arguments] if every else list(arguments)
        if first and typed:
            typed[0] = first(typed[0])
        if task in _SECOND_IS_TUPLE | _SECOND_IS_COMPLEX and len(typed) > 1:
            typed[1] = _tuple(typed[1]) if task in _SECOND_IS_TUPLE else complex(typed[1])
        found.append(tuple(typed))
    return found


def _tuple(value: Any) -> object:
    return tuple(value) if isinstance(value, list) else value


def _list_of_tuples(value: Any) -> object:
    return [_tuple(item) for item in value] if isinstance(value, list) else value


def _tuple_of_tuples(value: Any) -> object:
    return tuple(map(_tuple, value)) if isinstance(value, list) else value


def _tuples_all_through(value: Any) -> object:
    return tuple(map(_tuples_all_through, value)) if isinstance(value, list) else value


def _list_of_sets(value: Any) -> object:
    """Return a list of sets; an empty one is an empty dictionary there, as `{}` was in the test."""
    return [set(item) if isinstance(item, list) and item else {} for item in value]


def _values_are_tuples(value: Any) -> object:
    return {key: _tuple(item) for key, item in value.items()} if isinstance(value, dict) else value


_EVERY: list[tuple[Convert, frozenset[int]]] = [
    (
        _tuple,
        frozenset(
            (2, 116, 132, 143, 222, 261, 273, 394, 399, 421, 424, 429, 470, 560, 579, 596, 616, 630, 726, 740, 744, 809)
        ),
    ),
    (
        _list_of_tuples,
        frozenset((63, 64, 70, 94, 120, 237, 272, 299, 400, 409, 417, 438, 473, 614, 780)),
    ),
    (_tuple_of_tuples, frozenset((259, 278, 401, 445))),
    (_tuples_all_through, frozenset((580, 615, 791))),
]
"""(type of every argument, tasks)."""
_FIRST: list[tuple[Convert, frozenset[int]]] = [
    (_tuple, frozenset((250, 307, 405, 446, 617, 720, 763, 808))),
    (_list_of_tuples, frozenset((75, 413, 444, 753))),
    (_list_of_sets, frozenset((115,))),
    (_values_are_tuples, frozenset((722,))),
    (complex, frozenset((252,))),
    (float, frozenset((124,))),
]
"""(type of the first argument, tasks)."""
_SECOND_IS_TUPLE = frozenset((106, 750))
_SECOND_IS_COMPLEX = frozenset((124,))
