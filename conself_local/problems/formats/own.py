"""Read and write the project's own format: JSON lines, one problem per line.

Fields: id, statement, kind (`function` or `stdin`), inputs (a list of texts, each the Python literal of a tuple of
arguments, or the text on standard input), split; entry_point and starter_code for functions; optionally reference
(never on a training problem), origin, licence.
"""

from __future__ import annotations

from typing import Any

from conself_local.problems.formats.fields import id_of
from conself_local.problems.literals import MAX_LITERALS_CHARACTERS, input_text, parse_input
from conself_local.problems.problem import MAX_INPUTS, Problem

_KNOWN = {
    "id",
    "statement",
    "kind",
    "inputs",
    "split",
    "entry_point",
    "starter_code",
    "reference",
    "origin",
    "licence",
}

FIELDS = frozenset(("statement", "inputs"))


def is_own(record: dict[str, Any]) -> bool:
    """Return whether a record has the fields `statement` and `inputs` of the project's own format."""
    return set(record) >= FIELDS


def problem_of(record: dict[str, Any]) -> Problem:
    """Return the problem of a record. Raises ValueError that names the field.

    An optional field of the wrong type may raise TypeError instead.
    """
    unknown = sorted(set(record) - _KNOWN)
    if unknown:
        raise ValueError(f"unknown field {unknown[0]!r}; known are {', '.join(sorted(_KNOWN))}")
    texts = record.get("inputs")
    if not isinstance(texts, list) or not all(isinstance(t, str) for t in texts):
        raise ValueError("inputs must be a list of texts")
    if isinstance(record.get("id"), int | float):
        record = record | {"id": id_of(record, "id")}
    for name in ("id", "statement", "kind", "split"):
        if not isinstance(record.get(name), str):
            raise ValueError(f"{name} is missing or not text")
    if len(texts) > MAX_INPUTS:
        raise ValueError(f"inputs must be 1 to {MAX_INPUTS} in number, not {len(texts)}")
    if record["kind"] != "stdin" and sum(map(len, texts)) > MAX_LITERALS_CHARACTERS:
        raise ValueError(f"inputs hold more than {MAX_LITERALS_CHARACTERS} characters together")
    values = {key: record[key] for key in _KNOWN - {"inputs"} if record.get(key) is not None}
    inputs: tuple[object, ...] = tuple(texts) if record["kind"] == "stdin" else tuple(parse_input(t) for t in texts)
    return Problem(**values, inputs=inputs)


def record_of(problem: Problem) -> dict[str, Any]:
    """Return the record of a problem; `problem_of` turns it back into an equal problem."""
    record: dict[str, Any] = {"id": problem.id, "split": problem.split, "kind": problem.kind}
    if problem.kind == "function":
        record |= {"entry_point": problem.entry_point, "starter_code": problem.starter_code}
    record |= {"statement": problem.statement, "inputs": [input_text(i) for i in problem.inputs]}
    if problem.reference is not None:
        record["reference"] = problem.reference
    return record | {"origin": problem.origin, "licence": problem.licence}
