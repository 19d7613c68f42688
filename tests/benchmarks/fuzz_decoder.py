"""Fuzz the parent's decoder of child messages, guided by coverage.

Run by hand: `pip install atheris`, then `python -m tests.benchmarks.fuzz_decoder`. It runs until it finds an error or
is stopped.
"""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports():
    from sandbox import Program
    from sandbox.protocol import run_program

from tests.sandbox.test_fuzz import LIMITS, ScriptedForkServer, check_output


def one_input(data: bytes) -> None:
    """Decode at most 4096 bytes as a child's messages, and check every output.

    The bytes are decoded for a function and for a stdin program.
    """
    for kind, inputs in (("function", [(1,), (2,)]), ("stdin", ["a", "b"])):
        program = Program("p", "x", kind, "f", inputs)  # type: ignore[arg-type]
        run = run_program(ScriptedForkServer(data[:4096]), program, range(2), LIMITS, "one-at-a-time")
        for output in run.outputs:
            check_output(output, kind)


if __name__ == "__main__":
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
