"""The parent reports the right status for ordinary and for broken programs."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox import NOT_COMPILED, Limits, Program, ProgramResult, Sandbox, Status
from sandbox.fork_server import ForkServer, ServerGoneError


@pytest.fixture(scope="module")
def box() -> Iterator[Sandbox]:
    """Yield a sandbox with one worker."""
    with Sandbox(Limits(wall_s=1.0), workers=1) as made:
        yield made


def run(box: Sandbox, source: str, inputs: list[object], kind: str = "function", entry: str = "f") -> ProgramResult:
    """Run one program over the inputs."""
    (result,) = box.run([Program("p", source, kind, entry if kind == "function" else "", inputs)])  # type: ignore[arg-type]
    return result


def texts(result: ProgramResult) -> list[str | None]:
    """Return the text of every output."""
    return [o.text for o in result.outputs]


def statuses(result: ProgramResult) -> list[str]:
    """Return the status of every output."""
    return [o.status.value for o in result.outputs]


def test_values_come_back_as_canonical_text(box: Sandbox) -> None:
    values: list[object] = [
        None,
        True,
        1,
        -0.0,
        1.5,
        float("inf"),
        float("nan"),
        "a'\n\ud800é",
        b"\x00",
        (1,),
        [1, (2,)],
        {"b": 1, "a": {2}},
        set(),
    ]
    result = run(box, "def f(x):\n    return x", [(v,) for v in values])
    assert texts(result) == [
        "None",
        "True",
        "1",
        "-0.0",
        "1.5",
        "inf",
        "nan",
        ascii("a'\n\ud800é"),
        "b'\\x00'",
        "(1,)",
        "[1, (2,)]",
        "{'b': 1, 'a': {2}}",
        "set()",
    ]
    assert result.deterministic is True


def test_standard_values_are_calls_and_own_classes_are_refused(box: Sandbox) -> None:
    source = (
        "import datetime, decimal, fractions\nclass A: pass\nclass I(int): pass\n"
        "values = [decimal.Decimal('1.50'), fractions.Fraction(1, 3), datetime.date(2026, 1, 2), A(), I(3), (i for i in [1]), A]\n"
        "def f(i):\n    return values[i]"
    )
    result = run(box, source, [(i,) for i in range(7)])
    assert texts(result)[:3] == ["Decimal('1.50')", "Fraction(1, 3)", "datetime.date(2026, 1, 2)"]
    assert texts(result)[4] == "3", "a value of a subclass is written as its base"
    assert [statuses(result)[i] for i in (3, 5, 6)] == ["refused"] * 3


def test_kinds_of_failure_are_distinguished(box: Sandbox) -> None:
    source = (
        "import os\ndef f(x):\n    if x == 0: return 1 / 0\n    if x == 1:\n        while True: pass\n    if x == 2: return [0] * 10**10\n"
        "    if x == 3: return 'x' * 10**6\n    if x == 4: os._exit(0)\n    if x == 5: return f(5)\n    return x"
    )
    result = run(box, source, [(i,) for i in range(7)])
    assert statuses(result) == ["error", "timeout", "memory-limited", "output-limited", "crashed", "error", "ok"]
    assert result.outputs[0].detail == "ZeroDivisionError"


def test_loading_fails_for_every_input(box: Sandbox) -> None:
    broken = run(box, "def f(x:\n", [(1,), (2,)])
    assert broken.load.detail == f"{NOT_COMPILED}: SyntaxError" and statuses(broken) == ["error", "error"]
    raising = run(box, "raise KeyError('x')", [(1,)])
    assert raising.load.detail == "KeyError" and raising.deterministic is None
    assert run(box, "x = 1", [(1,)]).load.detail == "KeyError"


def test_many_timeouts_end_early(box: Sandbox) -> None:
    result = run(box, "def f(x):\n    while True: pass", [(i,) for i in range(20)])
    assert statuses(result) == ["timeout"] * 20
    assert sum(o.wall_s for o in result.outputs) < 3


def test_stdin_programs(box: Sandbox) -> None:
    source = "import sys\nn = int(input())\nprint(n * 2, ' ')\nprint()\nif n == 3: sys.exit(1)\nif n == 4: exit(0)"
    result = run(box, source, ["1\n", "3\n", "4\n", "x"], kind="stdin")
    assert statuses(result) == ["ok", "error", "ok", "error"] and texts(result)[0] == "2"
    reading = run(box, "import os, sys\nprint(len(os.read(0, 10)), len(sys.stdin.read()))", ["a" * 30], kind="stdin")
    assert texts(reading) == ["10 20"]
    binary = run(
        box, "import sys\nprint('a', end='')\nsys.stdout.buffer.write(b'b')\nsys.stdout.close()", ["x"], kind="stdin"
    )
    assert texts(binary) == ["ba"], "as Python does if standard output is a file"


def test_state_and_hash_order_are_detected(box: Sandbox) -> None:
    assert run(box, "n = 0\ndef f(x):\n    global n\n    n += 1\n    return n", [(1,), (1,)]).deterministic is False
    assert run(box, "def f(x):\n    return list({'a', 'b', 'c', 'd', 'e', 'g'})", [(1,)]).deterministic is False
    assert run(box, "import random\ndef f(x):\n    return random.random()", [(1,)]).deterministic is False
    assert (
        run(box, "import random\ndef f(x):\n    return random.Random(x).random()", [(1,), (2,)]).deterministic is True
    )


def test_methods_are_called_on_a_fresh_object(box: Sandbox) -> None:
    source = (
        "class A:\n    def __init__(self): self.n = 0\n    def go(self, k):\n        self.n += k\n        return self.n"
    )
    assert texts(run(box, source, [(1,), (2,)], entry="A.go")) == ["1", "2"]


@pytest.mark.parametrize("inputs", ["together", "fork-each"])
def test_every_way_of_passing_inputs_gives_the_same_outputs(inputs: str) -> None:
    programs = [
        Program(str(i), f"def f(x):\n    return x * {i}", "function", "f", [(j,) for j in range(5)]) for i in range(8)
    ]
    with Sandbox(workers=2, inputs=inputs) as box:  # type: ignore[arg-type]
        results = {r.program_id: texts(r) for r in box.run(programs)}
    assert results == {str(i): [str(i * j) for j in range(5)] for i in range(8)}


def test_a_fork_per_input_keeps_no_state() -> None:
    with Sandbox(workers=1, inputs="fork-each") as box:
        result = run(box, "n = 0\ndef f(x):\n    global n\n    n += 1\n    return n", [(1,), (1,)])
    assert texts(result) == ["1", "1"] and result.deterministic is True


def test_a_killed_fork_server_is_replaced() -> None:
    programs = [Program(str(i), "def f(x):\n    return x", "function", "f", [(i,)]) for i in range(40)]
    with Sandbox(workers=2) as box:
        seen = []
        for n, result in enumerate(box.run(programs)):
            seen.append((result.program_id, result.outputs[0].text, result.outputs[0].status))
            if n in (3, 11):
                for pid in box.server_pids:
                    os.kill(pid, signal.SIGKILL)
    assert sorted(seen) == sorted((str(i), str(i), Status.OK) for i in range(40))


def test_a_fork_server_that_hangs_is_replaced() -> None:
    programs = [Program(str(i), "def f(x):\n    return x", "function", "f", [(i,)]) for i in range(8)]
    notices: list[str] = []
    with Sandbox(Limits(wall_s=1.0), 1, repeat=False, on_notice=notices.append, hang_seconds=2) as box:
        seen = []
        for n, result in enumerate(box.run(programs)):
            seen.append((result.program_id, result.outputs[0].text, result.outputs[0].status))
            if n == 2:
                (stopped,) = box.server_pids
                os.kill(stopped, signal.SIGSTOP)
    assert seen == [(str(i), str(i), Status.OK) for i in range(8)]
    assert len(notices) == 1 and "hung" in notices[0]
    with pytest.raises(ProcessLookupError):
        os.kill(stopped, 0)


def test_fork_servers_that_all_hang_are_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "server.py").write_text("import signal\nsignal.pause()")
    monkeypatch.setattr("sandbox.fork_server._SERVER_FILE", tmp_path / "server.py")
    with Sandbox(workers=1, layers=(), hang_seconds=0.1) as box:
        result = run(box, "def f(x):\n    return x", [(1,)])
    assert statuses(result) == ["sandbox-failed"] and "hung 3 times" in result.load.detail


def test_a_program_that_stops_itself_took_too_long() -> None:
    source = "import os, signal\ndef f(x):\n    if x == 1: os.kill(os.getpid(), signal.SIGSTOP)\n    return x"
    with Sandbox(Limits(wall_s=1.0), workers=1, layers=()) as unprotected:
        result = run(unprotected, source, [(0,), (1,), (2,)])
    assert statuses(result) == ["ok", "timeout", "ok"]


def test_a_fork_server_that_dies_while_it_starts_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Prevent a regression: a kill before the first message was taken for a computer without protection."""
    deaths = iter([True, True, False, True, False, False])

    def dies_at_first(
        layers: tuple[str, ...], hash_seed: int, limits: Limits, strict: bool, hang_seconds: float
    ) -> ForkServer:
        server = ForkServer(layers, hash_seed, limits, strict, hang_seconds)
        if next(deaths, False):
            server.close()
            raise ServerGoneError
        return server

    monkeypatch.setattr("sandbox.pool.ForkServer", dies_at_first)
    with Sandbox(workers=1) as box:
        result = run(box, "def f(x):\n    return x", [(1,)])
    assert texts(result) == ["1"] and result.deterministic is True


def test_an_error_in_the_iterable_is_raised_and_the_sandbox_stays_usable() -> None:
    def broken() -> Iterator[Program]:
        yield Program("a", "def f(x):\n    return x", "function", "f", [(1,)])
        raise LookupError("no more")

    with Sandbox(workers=2) as box:
        with pytest.raises(LookupError, match="no more"):
            list(box.run(broken()))
        assert texts(run(box, "def f(x):\n    return 7", [(1,)])) == ["7"]
