"""Parent side: the `Sandbox`, a pool of workers with fork servers that tests itself and yields results as they come.

Covered: running thousands of hostile programs per minute; a fork server that dies or hangs is replaced, and its program
runs again.
Not covered: whether a program's own answers are honest (it may lie); side channels; a bug in the kernel.
"""

from __future__ import annotations

import os
import queue
import random
import threading
from collections.abc import Callable, Collection, Generator, Iterable, Sequence
from dataclasses import replace
from types import TracebackType

from sandbox.fork_server import HANG_SECONDS, ForkServer, ServerGoneError, ServerHungError
from sandbox.guarantees import ALL_LAYERS, available_layers
from sandbox.protocol import NOT_RUN, Run, run_program
from sandbox.self_test import make_self_test
from sandbox.types import Inputs, Limits, Output, Program, ProgramResult, SandboxError, Status
from sandbox.values import pack_input

_TRIES = 3
_SERVER_DIED = f"the fork server died or hung {_TRIES} times in a row"
_LOT = random.Random(os.urandom(32))  # a program never sees anything of the parent's


class Sandbox:
    """A pool that runs untrusted programs; use it as a context manager.

    `accept_weaker` names the layers (`landlock`, `seccomp`, `capabilities`; on macOS `seatbelt`) that may be missing;
    pass only names that the user has agreed to. With `strict`, a program can open no file at all once it runs; None
    means strict if Landlock is missing. Strict mode needs seccomp and is off without it. `layers` is for tests and
    benchmarks: exactly these are installed, and none is required. `on_notice` is called, in a worker's thread, with a
    sentence for the user when a fork server hung. `hang_seconds` is for tests.
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
        on_notice: Callable[[str], None] = lambda text: None,
        hang_seconds: float = HANG_SECONDS,
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

        def start_server() -> ForkServer:
            return ForkServer(taken, _LOT.randrange(2**32), limits, strict, hang_seconds)

        limits = limits or Limits()
        self.missing = tuple(missing)
        """The layers that are missing and that nothing replaces; empty for a full sandbox."""
        self._workers = [_Worker(start_server, limits, inputs, repeat, on_notice) for _ in range(workers)]
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
        result = self._workers[0].run(make_self_test())
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
            try:
                results.put(worker.run(program))
            except SandboxError:
                raise
            except Exception as error:  # one program must never end the run of the others
                results.put(_failed(program, f"the sandbox failed: {type(error).__name__}"))
    except BaseException as error:
        results.put(error)
    results.put(None)


class _Worker:
    """Two fork servers for the two runs of a program that are compared, or one if nothing is repeated."""

    def __init__(
        self,
        start_server: Callable[[], ForkServer],
        limits: Limits,
        inputs: Inputs,
        repeat: bool,
        on_notice: Callable[[str], None],
    ) -> None:
        self._start_server, self._limits, self._inputs, self._on_notice = start_server, limits, inputs, on_notice
        self._servers: list[ForkServer | None] = [None] * (2 if repeat else 1)

    @property
    def server_pids(self) -> list[int]:
        return [server.pid for server in self._servers if server]

    def run(self, program: Program) -> ProgramResult:
        """Run the program once, or twice in two orders of its inputs; the outputs are those of the given order.

        What a program could tell the runs apart by is drawn by lot: which run comes first and on which server, the
        servers' hash seeds and the addresses of objects, and the second order.
        """
        try:
            packed = [pack_input(value) for value in program.inputs]
        except ValueError as error:
            return _failed(program, f"an input cannot be given to a program: {error}")
        given = list(range(len(program.inputs)))
        if len(self._servers) == 1:
            only = self._run_once(0, program, given, packed)
            return _result(program, only, None) if only else _failed(program, _SERVER_DIED)
        shuffled = _another_order(len(given))
        server = _LOT.randrange(2)
        runs: dict[bool, Run] = {}
        for is_given in _LOT.sample([True, False], 2):
            run = self._run_once(server, program, given if is_given else shuffled, packed)
            if run is None:
                return _failed(program, _SERVER_DIED)
            if not runs and _needs_no_second(run, is_given):
                return _result(program, run, None)
            runs[is_given] = run
            server = 1 - server
        return self._compare(program, packed, runs[True], runs[False])

    def _compare(self, program: Program, packed: Sequence[bytes], given: Run, shuffled: Run) -> ProgramResult:
        """Decide whether the runs agree; an input that only a time-out keeps from agreeing is run once more."""
        pairs = list(zip(given.outputs, shuffled.outputs, strict=True))
        if not any(Status.OK in (a.status, b.status) for a, b in pairs):
            return _result(program, given, None)
        doubtful = [i for i, (a, b) in enumerate(pairs) if _is_doubtful(a, b)]
        deterministic = all(_agree(a, b) for i, (a, b) in enumerate(pairs) if i not in doubtful)
        outputs = list(given.outputs)
        if doubtful and deterministic:
            fewer = replace(program, inputs=[program.inputs[i] for i in doubtful])
            some = [packed[i] for i in doubtful]
            again = self._run_once(_LOT.randrange(2), fewer, _another_order(len(doubtful)), some)
            for i, output in zip(doubtful, again.outputs if again else (), strict=False):
                known = next(o for o in pairs[i] if o.status is Status.OK)
                if (output.status, output.text) == (Status.OK, known.text):
                    outputs[i] = known
                else:
                    deterministic = False
            deterministic = deterministic and again is not None
        return ProgramResult(program.id, given.load, tuple(outputs), deterministic)

    def _run_once(self, which: int, program: Program, order: Sequence[int], packed: Sequence[bytes]) -> Run | None:
        for _ in range(_TRIES):
            try:
                server = self._servers[which] or self._start_server()
                self._servers[which] = server
                return run_program(server, program, order, self._limits, self._inputs, packed)
            except ServerGoneError as error:
                is_hung = isinstance(error, ServerHungError)
                if is_hung:
                    self._on_notice("a process of the sandbox hung; it is replaced, and its program runs again")
                broken = self._servers[which]
                if broken:
                    broken.close(is_hung=is_hung)
                self._servers[which] = None
        return None

    def close(self) -> None:
        for server in self._servers:
            if server:
                server.close()
        self._servers = [None] * len(self._servers)


def _another_order(count: int) -> list[int]:
    """Return an order drawn by lot in which no input has its own place, so that state between them shows."""
    order = list(range(count))
    while count > 1 and any(place == index for place, index in enumerate(order)):
        _LOT.shuffle(order)
    return order


def _needs_no_second(run: Run, is_given: bool) -> bool:
    """Return whether a second run could not agree: the program does not load, or answers nothing in the given order."""
    return run.load.status is not Status.OK or (is_given and not any(o.status is Status.OK for o in run.outputs))


def _is_doubtful(given: Output, other: Output) -> bool:
    """Return whether one run has an answer that the other lacks only because time was up."""
    if given.status is Status.OK:
        return other.status is Status.TIMEOUT
    return given.status is Status.TIMEOUT and given.detail != NOT_RUN and other.status is Status.OK


def _agree(given: Output, other: Output) -> bool:
    if given.detail == NOT_RUN:
        return True  # the program was given up before; what the other order reached says nothing about it
    if Status.OK in (given.status, other.status):
        return (given.status, given.text) == (other.status, other.text)
    return True


def _result(program: Program, run: Run, deterministic: bool | None) -> ProgramResult:
    return ProgramResult(program.id, run.load, run.outputs, deterministic)


def _failed(program: Program, why: str) -> ProgramResult:
    lost = Output(Status.SANDBOX_FAILED, None, why, 0.0, 0.0)
    return ProgramResult(program.id, lost, tuple(lost for _ in program.inputs), None)
