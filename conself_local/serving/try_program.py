"""One program on one input that a person typed, in the sandbox."""

from __future__ import annotations

import ast

from conself_local.sampling.extract import parse_calls
from sandbox import Limits, Program, Sandbox, Status


def try_program(code: str, call: str) -> str:
    """call: `double(3)`, the arguments literals, for a function of the program; else what stands on standard input.

    Returns what it gave, or how it ended. Raises ValueError for a call whose arguments are no literals.
    """
    name = _called(call)
    if name:
        arguments = parse_calls(call, name)
        if not arguments:
            raise ValueError(f"the arguments of {name} must be literals, as in {name}(3, 'a')")
        program = Program("typed", code, "function", name, [arguments[0]])
    else:
        program = Program("typed", code, "stdin", "", [call])
    with Sandbox(Limits(), workers=1) as sandbox:
        (result,) = sandbox.run([program])
    output = result.outputs[0]
    if output.status is Status.OK:
        return output.text or "(it printed nothing)"
    return f"{output.status.value}: {output.detail or result.load.detail}"


def _called(call: str) -> str | None:
    """The name of the function, where the text is a call."""
    try:
        node = ast.parse(call.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    return node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else None
