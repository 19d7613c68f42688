"""Stage 3, `execute`: run every program on every test input of its problem, in the sandbox, and store its behaviour.

The status of each run is decided by the parent process, never by the program. A program that has run under the same
limits is not run again. Not covered: how programs are isolated (`sandbox/`), and what their outputs mean (`score.py`).
"""

from __future__ import annotations

import contextlib
import itertools
import json
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType

from conself_local.errors import ConselfError
from conself_local.events import ItemStored, OnEvent, StageDone, StageStarted
from conself_local.problems.problem import Problem
from conself_local.settings import Settings
from conself_local.store.pooling import pooled_programs
from conself_local.store.store import RoundInfo, Row, Store
from sandbox import NOT_COMPILED, Limits, MakeSandbox, Program, ProgramResult, Status

_ROUND_PROGRAMS = "select program_id from samples where round_id = ? and program_id is not null"
_COUNT_EXECUTED = f"select count(*) from executions where limits = ? and program_id in ({_ROUND_PROGRAMS})"
_PAGE = 256
"""Programs that are read together while the programs of a round run."""


def limits_of(settings: Settings) -> Limits:
    """Return the sandbox limits of a round; those without a setting keep the defaults of `Limits`."""
    return Limits(wall_s=settings.execution.timeout_s, max_timeouts=settings.execution.max_timeouts)


def limits_key(limits: Limits) -> str:
    """Return the name of the limits in the store: results under different limits are kept apart."""
    return f"{limits.wall_s:g}s/{limits.memory_bytes >> 20}MiB/{limits.max_timeouts}"


def augmented_key(limits: Limits, round_id: int) -> str:
    """Return the name of the limits in the store for outputs on the inputs that the round has added."""
    return f"{limits_key(limits)}/grown/{round_id}"


def execute_programs(store: Store, round_: RoundInfo, make_sandbox: MakeSandbox, on_event: OnEvent) -> None:
    """Run every sampled program of the round that has no stored execution under the round's limits.

    Raises ConselfError if the sandbox itself fails.
    """
    limits = limits_of(round_.settings)
    key = limits_key(limits)
    total = int(store.value(f"select count(distinct program_id) from ({_ROUND_PROGRAMS})", round_.id))
    pooled = _pooled_pending(store, round_, key)
    total += len(pooled)
    done = int(store.value(_COUNT_EXECUTED, key, round_.id))
    on_event(StageStarted("execute", done, total))
    if done < total:
        # the threads of the sandbox read it, while this one stores results
        with Store(store.path) as reader, make_sandbox(limits) as sandbox:
            programs = itertools.chain(_pending_programs(reader, round_, key), _programs(reader, pooled))
            for result in sandbox.run(programs):
                store_result(store, key, result)
                done += 1
                on_event(ItemStored("execute", done, total, result.program_id[:8]))
    sql = f"""select count(*) as programs, coalesce(sum(compiled), 0) as compiled,
              coalesce(sum(deterministic = 0), 0) as nondeterministic from executions
              where limits = ? and program_id in ({_ROUND_PROGRAMS})"""
    counts = store.row(sql, key, round_.id)
    summary = (
        f"{counts['programs']} programs run, {counts['compiled']} compiled, "
        f"{counts['nondeterministic']} nondeterministic"
    )
    store.finish_stage(round_.id, "execute", summary)
    on_event(StageDone("execute", summary))


def _pooled_pending(store: Store, round_: RoundInfo, key: str) -> list[Row]:
    """Return the programs that vote from earlier rounds and ran under other limits only."""
    sql = f"select value from json_each(?) except {_ROUND_PROGRAMS}"
    return store.pending_programs(sql, key, json.dumps(pooled_programs(store, round_)), round_.id)


def run_sampled_programs(store: Store, round_: RoundInfo, make_sandbox: MakeSandbox) -> None:
    """Run every sampled program that has not run, between two waves of samples (`adaptive.py`)."""
    limits = limits_of(round_.settings)
    pending = store.pending_programs(_ROUND_PROGRAMS, limits_key(limits), round_.id)
    for _ in run_and_store(store, pending, limits, make_sandbox):
        pass


def run_and_store(
    store: Store, pending: list[Row], limits: Limits, make_sandbox: MakeSandbox
) -> Iterator[ProgramResult]:
    """Run the programs of `pending` (id, problem_id, code) and yield each result after it has been stored.

    Results come in order of completion. Raises ConselfError if the sandbox itself fails on a program.
    """
    if not pending:
        return
    with make_sandbox(limits) as sandbox:
        for result in sandbox.run(_programs(store, pending)):
            store_result(store, limits_key(limits), result)
            yield result


class OverlappedExecution:
    """Runs stored programs in batches while others are still sampled; a context manager.

    The sandbox works in a second thread, on the cores that `share_cores(True)` has freed; `share_cores(False)` gives
    them back. Everything is stored by the thread that calls `poll`. On leaving, the batch under way is finished and
    stored, or dropped after an exception. Programs that no batch has taken are left to `execute_programs`.
    """

    BATCH = 128
    """Number of new samples after which the next batch may start."""
    MOST = 1024
    """Most programs of a batch; more can wait if the round was interrupted."""

    def __init__(
        self, store: Store, round_: RoundInfo, make_sandbox: MakeSandbox, share_cores: Callable[[bool], None]
    ) -> None:
        self._store, self._round, self._share_cores = store, round_, share_cores
        self._limits = limits_of(round_.settings)
        self._sandbox = make_sandbox(self._limits)
        self._results: queue.SimpleQueue[ProgramResult | BaseException | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._stopping = False
        self._samples = 0
        self._last_row = 0  # 0: programs that an interrupted round has left are looked for once

    def poll(self) -> None:
        """Store the results that have arrived and start the next batch if it is due; to be called after each sample."""
        self._samples += 1
        while self._thread and not self._results.empty():
            self._take()
        if not self._thread and self._samples >= self.BATCH:
            self._samples = 0
            key = limits_key(self._limits)
            pending, self._last_row = self._store.pending_page(self._round.id, key, self._last_row, self.MOST)
            if pending:
                self._share_cores(True)
                programs = list(_programs(self._store, pending))
                self._thread = threading.Thread(target=self._run, args=(programs,), daemon=True)
                self._thread.start()

    def finish_batch(self) -> None:
        """Wait for the batch under way, if there is one, and store its results."""
        while self._thread:
            self._take()

    def _run(self, programs: list[Program]) -> None:
        """Run a batch in the second thread: put each result into the queue, an error if there is one, then None."""
        try:
            with contextlib.closing(self._sandbox.run(programs)) as results:
                for result in results:
                    self._results.put(result)
                    if self._stopping:
                        break
        except BaseException as error:
            self._results.put(error)
        self._results.put(None)

    def _take(self) -> None:
        """Wait for one entry of the queue and store it; raise if it is an error, and end the batch if it is None."""
        result = self._results.get()
        if isinstance(result, BaseException):
            raise result
        if result is not None:
            store_result(self._store, limits_key(self._limits), result)
        elif self._thread:
            self._thread.join()
            self._thread = None
            self._share_cores(False)

    def __enter__(self) -> OverlappedExecution:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self.finish_batch()
        finally:
            self._stopping = True
            if self._thread:
                self._thread.join()
            self._sandbox.close()


def _pending_programs(reader: Store, round_: RoundInfo, key: str) -> Iterator[Program]:
    """Yield the programs of the round that have not run under the limits named `key`, a page at a time."""
    after, is_last = 0, False
    while not is_last:
        page, after = reader.pending_page(round_.id, key, after, _PAGE)
        is_last = len(page) < _PAGE
        yield from _programs(reader, page)


def _programs(store: Store, pending: Sequence[Row]) -> Iterator[Program]:
    """Return the programs of these rows, each with the given inputs of its problem."""
    problems = {id: store.problem(id) for id in {row["problem_id"] for row in pending}}
    return (_program(problems[row["problem_id"]], row) for row in pending)


def store_result(store: Store, key: str, result: ProgramResult) -> None:
    """Store one execution of one program under the limits named `key`.

    Deterministic is whether the repeated run agreed, None if it was not repeated. Raises ConselfError if the sandbox
    itself failed.
    """
    load = result.load
    if load.status is Status.SANDBOX_FAILED:
        raise ConselfError(
            f"the sandbox failed on program {result.program_id}: {load.detail}",
            "start again to continue; `conself doctor` shows what is wrong",
        )
    row = {
        "program_id": result.program_id,
        "limits": key,
        "load_status": load.status.value,
        "load_detail": load.detail,
        "compiled": not load.detail.startswith(NOT_COMPILED),
        "deterministic": result.deterministic,
        "wall_s": sum(o.wall_s for o in result.outputs),
        "cpu_s": sum(o.cpu_s for o in result.outputs),
    }
    store.insert_execution(row, [(o.status.value, o.text, o.detail) for o in result.outputs])


def _program(problem: Problem, row: Row) -> Program:
    """Return the program of one row (id, code) with the given inputs of its problem."""
    return Program(row["id"], row["code"], problem.kind, problem.entry_point, problem.inputs)
