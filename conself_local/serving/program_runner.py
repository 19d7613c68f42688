"""Run programs in one sandbox that many questions share, beside an event loop.

The sandbox is started at the first use, with the consent of its maker: if a protection is missing that the user has not
waived, SandboxError is raised. Not covered: what the outputs mean (`best_of.py`).
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from sandbox import Limits, MakeSandbox, Program, ProgramResult, Sandbox

LIMITS = Limits(wall_s=2.0, max_timeouts=2)
"""The limits of a program that answers a question: somebody waits for it."""


class ProgramRunner:
    """A sandbox with a thread of its own; the programs of one call run before those of the next."""

    def __init__(self, make_sandbox: MakeSandbox) -> None:
        self._make_sandbox = make_sandbox
        self._sandbox: Sandbox | None = None
        self._thread = ThreadPoolExecutor(1, "sandbox")
        self._closing = threading.Event()

    def start(self) -> None:
        """Start the sandbox now. Raises SandboxError if this computer lacks a protection that was not waived."""
        if self._sandbox is None:
            self._thread.submit(self._started).result()

    async def run(self, programs: Sequence[Program]) -> dict[str, ProgramResult]:
        """Return the results by program id; after `close`, those that had ended by then."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._run, programs)

    def _started(self) -> Sandbox:
        if self._sandbox is None:
            self._sandbox = self._make_sandbox(LIMITS)
        return self._sandbox

    def _run(self, programs: Sequence[Program]) -> dict[str, ProgramResult]:
        found: dict[str, ProgramResult] = {}
        with contextlib.closing(self._started().run(programs)) as results:
            for result in results:
                found[result.program_id] = result
                if self._closing.is_set():
                    break
        return found

    def close(self) -> None:
        """Wait for the programs that run at this moment, and end the sandbox; the programs behind them do not run."""
        self._closing.set()
        self._thread.shutdown(wait=True, cancel_futures=True)
        if self._sandbox is not None:
            self._sandbox.close()
            self._sandbox = None
