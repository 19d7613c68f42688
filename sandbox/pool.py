"""Parent side: the `Sandbox`, a pool of workers with fork servers that tests itself and yields results as they come.

Covered: running thousands of hostile programs per minute; a program that ends its fork server costs one restart.
Not covered: whether a program's own answers are honest (it may lie); side channels; a bug in the kernel.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Collection, Generator, Iterable
from types import TracebackType

from sandbox.fork_server import ForkServer, ServerGoneError
from sandbox.guarantees import ALL_LAYERS, available_layers
from sandbox.protocol import Run, run_program
from sandbox.self_test import SELF_TEST
from sandbox.types import Inputs, Limits, Output, Program, ProgramResult, SandboxError, Status

_HASH_SEEDS = (1, 2)
_TRIES = 3


class Sandbox:
    """A pool that runs untrusted programs; use it as a context manager.

    `accept_weaker` names the layers (`landlock`, `seccomp`, `capabilities`; on macOS `seatbelt`) that may be missing;
    pass only names that the user has agreed to. With `strict`, a program can open no file at all once it runs; None
    means strict if Landlock is missing. Strict mode needs seccomp and is off without it. `layers` is for tests and
    benchmarks: exactly these are installed, and none is required.
    Raises SandboxError if this computer lacks a layer that was not accepted, or if the self-test fails; ValueError for
    fewer than one worker.
    """

    def __init__(
        self,
        limits: Limits | None = None,
        workers: int = 2,
        inputs: Inputs = "one-at-a-time",
        repeat: bool = True,
        strict: bool | None = None,
        accept_weaker: Collection[str] = (),
        layers: Collection[str] | None = None,
    ) -> None:
        if workers < 1:
            raise ValueError(f"workers must be at least 1, not {workers}")
        taken = available_layers() if layers is None else tuple(layers)
        strict = "seccomp" in taken and ("landlock" not in taken if strict is None else strict)
        replaced = ("landlock",) if strict else ()  # strict mode opens no file, so Landlock has nothing left to deny
        missing = [layer for layer in ALL_LAYERS if layer not in (*taken, *replaced)]
        refused = [layer for layer in missing if layer not in accept_weaker]
        if refused and layers is None:
            raise SandboxError(
                f"this computer lacks {', '.join(refused)}, which would keep programs away from your files and network"
            )
        self._workers = [_Worker(taken, limits or Limits(), inputs, repeat, strict) for _ in range(workers)]
        try:
            if not missing:
                self._run_self_test()
        except BaseException:
            self.close()
            raise

    @property
    def server_pids(self) -> list[int]:
        """The process ids of the fork servers that this pool keeps now."""
        return [pid for worker in self._workers for pid in worker.server_pids]

    def _run_self_test(self) -> None:
        """Run a program that tries what no program may do. Raises SandboxError if it could do any of it."""
        result = self._workers[0].run(SELF_TEST)
        if result.outputs[0].text != "[]":
            found = result.outputs[0].text or result.outputs[0].detail
            raise SandboxError(f"the sandbox failed its self-test and refuses to run programs: {found}")

    def run(self, programs: Iterable[Program]) -> Generator[ProgramResult]:
        """Run every program and yield the results in the order of completion.

        The workers' threads read the iterable one program at a time, when they need it; an error that it raises is
        raised here.
        """
        source = _Source(programs)
        results: queue.SimpleQueue[ProgramResult | BaseException | None] = queue.SimpleQueue()
        threads = [threading.Thread(target=_work, args=(w, source, results), daemon=True) for w in self._workers]
        for thread in threads:
            thread.start()
        working = len(self._workers)
        try:
            while working:
                result = results.get()
                if result is None:
                    working -= 1
                elif isinstance(result, BaseException):
                    raise result
                else:
                    yield result
        finally:
            source.stop()
            for thread in threads:
                thread.join()

    def close(self) -> None:
        """End all fork servers and their children."""
        for worker in self._workers:
            worker.close()

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


MakeSandbox = Callable[[Limits], Sandbox]
"""A function that makes a sandbox with the given limits; number of workers and consent are already decided."""


class _Source:
    """The programs that are still to run, handed to one thread at a time."""

    def __init__(self, programs: Iterable[Program]) -> None:
        self._programs = iter(programs)
        self._lock = threading.Lock()
        self._stopped = False

    def stop(self) -> None:
        self._stopped = True

    def take(self) -> Program | None:
        """Return the next program, or None at the end or after `stop`."""
        with self._lock:
            return None if self._stopped else next(self._programs, None)


def _work(worker: _Worker, source: _Source, results: queue.SimpleQueue[ProgramResult | BaseException | None]) -> None:
    try:
        while (program := source.take()) is not None:
            results.put(worker.run(program))
    except BaseException as error:
        results.put(error)
    results.put(None)


class _Worker:
    """One or two fork servers with different hash seeds: one for the results, one for the repetition."""

    def __init__(self, layers: tuple[str, ...], limits: Limits, inputs: Inputs, repeat: bool, strict: bool) -> None:
        self._strict, self._layers, self._limits, self._inputs = strict, layers, limits, inputs
        self._servers: list[ForkServer | None] = [None] * (2 if repeat else 1)

    @property
    def server_pids(self) -> list[int]:
        return [server.pid for server in self._servers if server]

    def run(self, program: Program) -> ProgramResult:
        forward = range(len(program.inputs))
        first = self._run_once(0, program, forward)
        if first is None:
            lost = Output(Status.SANDBOX_FAILED, None, f"the fork server died {_TRIES} times in a row", 0.0, 0.0)
            return ProgramResult(program.id, lost, tuple(lost for _ in forward), None)
        deterministic: bool | None = None
        if len(self._servers) == 2 and any(o.status is Status.OK for o in first.outputs):
            second = self._run_once(1, program, forward[::-1])
            deterministic = None if second is None else _agree(first, second)
        return ProgramResult(program.id, first.load, first.outputs, deterministic)

    def _run_once(self, which: int, program: Program, order: range) -> Run | None:
        for _ in range(_TRIES):
            try:
                server = self._servers[which] or ForkServer(
                    self._layers, _HASH_SEEDS[which], self._limits, self._strict
                )
                self._servers[which] = server
                return run_program(server, program, order, self._limits, self._inputs)
            except ServerGoneError:
                broken = self._servers[which]
                if broken:
                    broken.close()
                self._servers[which] = None
        return None

    def close(self) -> None:
        for server in self._servers:
            if server:
                server.close()
        self._servers = [None] * len(self._servers)


def _agree(first: Run, second: Run) -> bool:
    """Return whether both runs agree; a time-out on one side proves nothing, since the machine may have been busy."""
    unclear = (Status.TIMEOUT, Status.SANDBOX_FAILED)
    return all(
        a.status in unclear or b.status in unclear or (a.status, a.text) == (b.status, b.text)
        for a, b in zip(first.outputs, second.outputs, strict=True)
    )
