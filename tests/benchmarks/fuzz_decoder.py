"""Coverage-guided fuzzing of the parent's decoder, by hand: `pip install atheris`, then `python -m tests.benchmarks.fuzz_decoder`."""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports():
    from sandbox import Program
    from sandbox.protocol import run_program

from tests.sandbox.test_fuzz import LIMITS, Babbler, check


def one_input(data: bytes) -> None:
    for kind, inputs in (("function", [(1,), (2,)]), ("stdin", ["a", "b"])):
        run = run_program(Babbler(data[:4096]), Program("p", "x", kind, "f", inputs), range(2), LIMITS, "one-at-a-time")  # type: ignore[arg-type]
        for output in run.outputs:
            check(output, kind)


if __name__ == "__main__":
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
