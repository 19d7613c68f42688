"""Read EvalPlus records: HumanEval+ and MBPP+ as released, JSON lines with their inputs.

All problems are held-out. A program is judged by the reference's outputs; EvalPlus's own assertions are not used.
Source: EvalPlus (Liu et al. 2023, Apache-2.0).
"""

from __future__ import annotations

from typing import Any

from conself_local.problems.problem import MAX_INPUTS, Problem


def is_evalplus(record: dict[str, Any]) -> bool:
    """Return whether a record is of EvalPlus, recognised by its fields."""
    return {"task_id", "prompt", "entry_point", "canonical_solution", "base_input", "plus_input"} <= set(record)


def problem_of(record: dict[str, Any]) -> Problem:
    """Return the held-out problem of a record, with its reference and at most `MAX_INPUTS` inputs.

    Raises ValueError if the inputs are not lists of arguments.
    """
    given = [*record["base_input"], *record["plus_input"]]
    if not all(isinstance(arguments, list) for arguments in given):
        raise ValueError("its inputs are not lists of arguments")
    prompt, name = str(record["prompt"]), str(record["entry_point"])
    continues = prompt.rstrip().endswith(('"""', "'''")) and "def " in prompt
    statement = (
        f"Complete the Python function `{name}` so that it does what its docstring says." if continues else prompt
    )
    return Problem(
        id=str(record["task_id"]),
        statement=statement,
        kind="function",
        inputs=tuple(tuple(a) for a in given[:MAX_INPUTS]),
        split="held-out",
        entry_point=name,
        starter_code=prompt.strip("\n") if continues else "",
        reference=f"{prompt}{record['canonical_solution']}\n" if continues else f"{record['canonical_solution']}\n",
        origin="EvalPlus",
        licence="Apache-2.0",
    )
