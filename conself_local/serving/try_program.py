"""Run one program in the sandbox on one input that a person typed.

Not covered: storing the result, and comparing it with an expected output.
"""

from __future__ import annotations

import ast

from conself_local.foreign_files import PARSER_ERRORS
from conself_local.sampling.extract import parse_calls
from sandbox import Limits, Program, Sandbox, Status


def make_sandbox(limits: Limits) -> Sandbox:
    """Return the sandbox for programs that a person runs from the screens, which waives no protection."""
    return Sandbox(limits, workers=1)


def try_program(code: str, call: str) -> str:
    """Run `code` on `call` and return its output, or a text that says how it ended (`error: ...`, `timeout: ...`).

    If `call` has the form of a function call, such as `double(3)`, that function of the program is called; otherwise
    `call` is the text on standard input.
    Raises ValueError if the arguments of the call are not positional literals.
    """
    name = _function_name(call)
    if name:
        arguments = parse_calls(call, name)
        if not arguments:
            raise ValueError(f"the arguments of {name} must be literals, as in {name}(3, 'a')")
        program = Program("typed", code, "function", name, [arguments[0]])
    else:
        program = Program("typed", code, "stdin", "", [call])
    with make_sandbox(Limits()) as sandbox:
        (result,) = sandbox.run([program])
    output = result.outputs[0]
    if output.status is Status.OK:
        return output.text or "(it printed nothing)"
    return f"{output.status.value}: {output.detail or result.load.detail}"


def _function_name(call: str) -> str | None:
    """Return the name of the called function, or None if the text is not a call."""
    try:
        node = ast.parse(call.strip(), mode="eval").body
    except PARSER_ERRORS:
        return None
    return node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else None
