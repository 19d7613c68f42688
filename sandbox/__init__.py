"""Runs untrusted programs on the user's own laptop; standard library and kernel only. Start at `controller.py`.

Covered: endless loops, memory, floods of output, files, network, processes, signals, forged status.
Not covered: what a program says about its own answers; side channels between processes of one machine; a bug in
the kernel; macOS and Windows (refused, unless the user accepts less by name).
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
