"""Read EvalPlus records: HumanEval+ and MBPP+, as EvalPlus releases them and as Hugging Face shows them.

EvalPlus's own files have the inputs as JSON. The data sets `evalplus/humanevalplus` and `evalplus/mbppplus` have them
as Python literals in the text of a test, which is parsed and never run: it needs numpy.
All problems are held-out. A program is judged by the reference's outputs; EvalPlus's own assertions are not used.
Source: EvalPlus (Liu et al. 2023, Apache-2.0).
"""

from __future__ import annotations

import ast
import contextlib
import re
from typing import Any

from conself_local.problems.formats import mbpp
from conself_local.problems.formats.calls import literal
from conself_local.problems.formats.evalplus_types import typed_inputs
from conself_local.problems.formats.fields import id_of, list_of, text_of
from conself_local.problems.literals import MAX_LITERAL_CHARACTERS, MAX_LITERALS_CHARACTERS, input_text, parse_code
from conself_local.problems.problem import MAX_INPUTS, Problem

FIELDS = frozenset(("task_id", "prompt", "entry_point", "canonical_solution", "base_input", "plus_input"))
_IN_HUMAN_EVAL = {"task_id", "prompt", "entry_point", "canonical_solution", "test"}
_IN_MBPP = {"task_id", "prompt", "code", "test_list", "test"}
_INPUTS = re.compile(r"^[ \t]*inputs = (.+)$", re.MULTILINE)
_ZIPPED = re.compile(r"\bzip\(inputs, results\)|\benumerate\(inputs\)")
"""What follows the inputs in the tests of EvalPlus's data sets."""


def is_evalplus(record: dict[str, Any]) -> bool:
    """Return whether a record is of EvalPlus, recognised by its fields, and by the text of its test."""
    return set(record) >= FIELDS or _is_shown(record, _IN_HUMAN_EVAL) or _is_shown(record, _IN_MBPP)


def problem_of(record: dict[str, Any]) -> Problem:
    """Return the held-out problem of a record, with its reference and at most `MAX_INPUTS` inputs.

    Raises ValueError if the record cannot be used.
    """
    if _is_shown(record, _IN_MBPP) and not set(record) >= FIELDS:
        return _of_mbpp(record)
    prompt, solution = text_of(record, "prompt"), text_of(record, "canonical_solution")
    key, name = id_of(record, "task_id"), text_of(record, "entry_point")
    continues = bool(re.search(rf"^[ \t]*def {re.escape(name)}\b", prompt, re.MULTILINE))
    if key.isdecimal():  # in HumanEval+ the solution continues the prompt, in MBPP+ it does not
        key = f"{'HumanEval' if continues else 'Mbpp'}/{key}"
    return Problem(
        id=key,
        statement=f"Complete the Python function `{name}` so that it does what its docstring says."
        if continues
        else prompt,
        kind="function",
        inputs=_fitting(_inputs(record, key)),
        split="held-out",
        entry_point=name,
        starter_code=prompt.strip("\n") if continues else "",
        reference=f"{prompt}{solution}\n" if continues else f"{solution}\n",
        origin="EvalPlus",
        licence="Apache-2.0",
    )


def _inputs(record: dict[str, Any], key: str) -> list[tuple[object, ...]]:
    """Return the inputs of a record in their types; key: the id with the name of the set."""
    if not set(record) >= FIELDS:
        return _inputs_of_test(text_of(record, "test"))
    given = [*list_of(record, "base_input"), *list_of(record, "plus_input")]
    if not all(isinstance(arguments, list) for arguments in given):
        raise ValueError("its inputs are not lists of arguments")
    number = re.fullmatch(r"mbpp/(\d{1,6})", key, re.IGNORECASE)
    return typed_inputs(int(number.group(1)) if number else 0, given[:MAX_INPUTS])


def _is_shown(record: dict[str, Any], fields: set[str]) -> bool:
    """Return whether a record has these fields, and a test as in EvalPlus's data sets on Hugging Face."""
    test = record.get("test")
    return set(record) >= fields and isinstance(test, str) and bool(_INPUTS.search(test) and _ZIPPED.search(test))


def _of_mbpp(record: dict[str, Any]) -> Problem:
    """Return the problem of a record of `evalplus/mbppplus`, whose statement is as for MBPP."""
    number = mbpp.task_number(record)
    code, test = text_of(record, "code"), text_of(record, "test")
    name, inputs = mbpp.calls_of_tests(list_of(record, "test_list", str), parse_code(code))
    with contextlib.suppress(ValueError):  # inputs that are computed or too long: those of MBPP's own tests remain
        inputs = [*inputs, *_inputs_of_test(test)]
    return Problem(
        id=f"Mbpp/{number}",
        statement=mbpp.statement_of(text_of(record, "prompt"), name, len(inputs[0])),
        kind="function",
        inputs=_fitting(inputs),
        split="held-out",
        entry_point=name,
        starter_code=mbpp.starter_of(name, len(inputs[0])),
        reference=code,
        origin="EvalPlus",
        licence="Apache-2.0",
    )


def _inputs_of_test(test: str) -> list[tuple[object, ...]]:
    """Return the list that a test calls `inputs`; of a very long test only its line is parsed."""
    line = _INPUTS.search(test)
    source = test if len(test) <= MAX_LITERAL_CHARACTERS or not line else line.group().strip()
    for node in ast.walk(parse_code(source)):
        match node:
            case ast.Assign(targets=[ast.Name(id="inputs")], value=ast.List() as value):
                inputs = literal(value)
                if isinstance(inputs, list) and all(isinstance(arguments, list | tuple) for arguments in inputs):
                    return [tuple(arguments) for arguments in inputs]
    raise ValueError("its test has no list of inputs")


def _fitting(inputs: list[tuple[object, ...]]) -> tuple[object, ...]:
    """Return the first different inputs, as many as one problem may have. Raises ValueError for one with no literal."""
    found: dict[str, object] = {}
    left = MAX_LITERALS_CHARACTERS
    for one in inputs[: 2 * MAX_INPUTS]:
        text = input_text(one)
        if len(text) <= left and text not in found and len(found) < MAX_INPUTS:
            found[text] = one
            left -= len(text)
    return tuple(found.values())
