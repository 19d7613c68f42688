"""An input that no program can be given fails its own program only, in bounded time."""

from __future__ import annotations

import pytest

from sandbox import Program, Sandbox, Status
from sandbox.types import ProgramKind
from sandbox.values import MAX_STDIN_BYTES, UnusableInputError, pack_input

_SHARED: object = 0
for _ in range(60):
    _SHARED = [_SHARED, _SHARED]
_WIDE: object = 0
for _ in range(30):
    _WIDE = [_WIDE, _WIDE]


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "value",
    [(1j,), (frozenset({1}),), (_SHARED,), (_WIDE,), "x" * (MAX_STDIN_BYTES + 1), (bytearray(b"x"),)],
    ids=["complex", "frozenset", "shared", "wide", "long", "bytearray"],
)
def test_such_an_input_is_refused_and_the_other_programs_run(value: object) -> None:
    with pytest.raises(UnusableInputError):
        pack_input(value)
    kind: ProgramKind = "stdin" if isinstance(value, str) else "function"
    programs = [
        Program("bad", "def f(x):\n    return 1\n", kind, "f" if kind == "function" else "", [value]),
        Program("good", "def f(x):\n    return 1\n", "function", "f", [(1,)]),
    ]
    with Sandbox(workers=1) as sandbox:
        results = {result.program_id: result for result in sandbox.run(programs)}
    assert results["good"].outputs[0].text == "1"
    assert results["bad"].load.status is Status.SANDBOX_FAILED
    assert "input" in results["bad"].outputs[0].detail
