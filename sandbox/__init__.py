"""Run untrusted programs on the user's own laptop, with the standard library and the kernel only.

Start reading at `pool.py`.
Covered: endless loops, memory, floods of output, files, network, processes, signals, forged status.
Not covered: what a program says about its own answers; side channels between processes of one machine; a bug in
the kernel; macOS and Windows (refused, unless the user accepts the missing layers by name).
"""

from sandbox.guarantees import Guarantee, guarantees
from sandbox.pool import MakeSandbox, Sandbox
from sandbox.protocol import NOT_COMPILED
from sandbox.types import Limits, Output, Program, ProgramResult, SandboxError, Status

__all__ = [
    "NOT_COMPILED",
    "Guarantee",
    "Limits",
    "MakeSandbox",
    "Output",
    "Program",
    "ProgramResult",
    "Sandbox",
    "SandboxError",
    "Status",
    "guarantees",
]
