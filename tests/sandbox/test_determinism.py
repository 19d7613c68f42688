"""Two runs are compared that a program cannot tell apart, and a program counts as deterministic only if they agree."""

from __future__ import annotations

import pytest

from sandbox import Limits, Program, ProgramResult, Sandbox, Status, pool


def _run(source: str, inputs: list[object], limits: Limits | None = None) -> ProgramResult:
    with Sandbox(limits or Limits(wall_s=0.5), workers=1) as sandbox:
        (result,) = sandbox.run([Program("p", source, "function", "f", inputs)])
    return result


@pytest.mark.parametrize(
    "source",
    [
        "class A: pass\ndef f(n):\n    a = {(A(), i): i for i in range(n)}\n    return [i for _, i in set(a)]\n",
        "class A: pass\ndef f(n):\n    a = [A() for i in range(n)]\n    s = set(a)\n    return [a.index(x) for x in s]\n",
        "def f(n):\n    return list({str(i) for i in range(n)})\n",
        "def f(n):\n    return id(object()) % 4096\n",
    ],
)
def test_an_order_that_depends_on_hashes_or_addresses_is_found(source: str) -> None:
    found = [_run(source, [(50,), (60,)]).deterministic for _ in range(3)]
    assert False in found and found.count(True) <= 1, found


def test_the_seeds_and_the_order_differ_from_sandbox_to_sandbox() -> None:
    """A program that recognises the server of its first run by the hash seed could behave for the second one."""
    source = "seen = []\ndef f(x):\n    seen.append(x)\n    return (hash('a'), len(seen))\n"
    assert len({_run(source, [(i,) for i in range(6)]).outputs[0].text for _ in range(3)}) > 1


def test_the_outputs_are_those_of_the_given_order() -> None:
    source = "def f(x):\n    return x * x\n"
    for _ in range(4):
        result = _run(source, [(i,) for i in range(9)])
        assert [o.text for o in result.outputs] == [str(i * i) for i in range(9)] and result.deterministic is True


def test_an_answer_that_only_one_run_gives_is_not_deterministic() -> None:
    """It answers only before it has seen another input: in one of two orders it fails."""
    source = "seen = []\ndef f(x):\n    seen.append(x)\n    return x if len(seen) == x else 1 / 0\n"
    found = [_run(source, [(1,), (2,), (3,), (4,), (5,)]).deterministic for _ in range(3)]
    assert found == [False] * 3


def test_a_time_out_in_one_run_is_no_agreement() -> None:
    """A program that is slow on the input that it sees first answers it in one order only, whichever is run once more."""
    source = (
        "import time\nseen = []\ndef f(x):\n    seen.append(x)\n    if len(seen) == 1: time.sleep(9)\n    return x\n"
    )
    found = [_run(source, [(i,) for i in range(5)]).deterministic for _ in range(2)]
    assert True not in found


def test_programs_that_answer_nothing_are_not_compared() -> None:
    for source in ("def f(x):\n    return 1 / 0\n", "def f(x):\n    while True: pass\n", "def f(x:\n"):
        result = _run(source, [(1,), (2,), (3,)], Limits(wall_s=0.2, max_timeouts=2))
        assert result.deterministic is None and not any(o.status is Status.OK for o in result.outputs)


@pytest.mark.round
def test_a_program_that_is_given_up_has_the_same_outputs_in_every_order(monkeypatch: pytest.MonkeyPatch) -> None:
    source = "def f(x):\n    while x in (1, 3): pass\n    return x\n"
    limits = Limits(wall_s=0.5, max_timeouts=2)
    for order in ([1, 3, 0, 2, 5, 4], [5, 4, 3, 2, 1, 0]):
        monkeypatch.setattr(
            pool, "_another_order", lambda count, order=order: order if count == 6 else list(range(count))
        )
        result = _run(source, [(i,) for i in range(6)], limits)
        assert [o.text for o in result.outputs] == ["0", None, "2", None, None, None]
        assert result.outputs[4].detail.startswith("not run")
