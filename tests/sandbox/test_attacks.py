"""Every attack fails with all layers on and succeeds in its control; without a layer in the kernel it is skipped."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from textwrap import indent
from typing import get_args

import pytest

from sandbox import Limits, Program, Sandbox, Status
from sandbox.fork_server import ForkServer
from sandbox.guarantees import ALL_LAYERS, available_layers
from sandbox.protocol import run_program
from sandbox.types import Inputs
from tests.sandbox import attacks
from tests.sandbox.conftest import run, server

_PREAMBLE = "import os, time\ndef f(path, port, pid):\n"


def _function(body: str) -> str:
    return _PREAMBLE + indent(body, "    ")


@pytest.fixture
def secret(tmp_path: Path) -> Iterator[Path]:
    """Yield a file of the user with a secret, beside a file to destroy and a symbolic link to the secret."""
    path = tmp_path / "secret"
    path.write_text("the secret")
    path.chmod(0o600)
    (tmp_path / "secret.victim").write_text("precious")
    (tmp_path / "secret.given-link").symlink_to(path)
    yield path
    for leftover in ("/tmp/conself-attack", "/dev/shm/conself-attack"):
        Path(leftover).unlink(missing_ok=True)


@pytest.fixture
def port() -> Iterator[int]:
    """Yield the port of a listening TCP socket."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server.getsockname()[1]


@pytest.fixture
def victim() -> Iterator[int]:
    """Yield the id of a process of the user."""
    process = subprocess.Popen(["sleep", "60"])
    yield process.pid
    process.kill()
    process.wait()


def _need(*layers: str) -> None:
    for layer in layers:
        if layer not in available_layers():
            assert not os.environ.get("CI"), f"CI's kernel has {layer}"
            pytest.skip(f"this kernel has no {layer}")


_CASES = [pytest.param(a, id=f"{group}: {a.name}") for group, found in attacks.BY_LAYER.items() for a in found]


@pytest.mark.parametrize("attack", _CASES)
def test_an_attack_on_the_computer_fails_and_its_control_succeeds(
    attack: attacks.Attack, secret: Path, port: int, victim: int
) -> None:
    _need("landlock", "seccomp")
    given: list[object] = [(str(secret), port, victim)]
    source = _function(attack.body)
    assert run(source, given).text != "'through'"
    assert secret.read_text() == "the secret" and secret.stat().st_mode & 0o7777 == 0o600
    assert sorted(p.name for p in secret.parent.iterdir()) == ["secret", "secret.given-link", "secret.victim"]
    assert (secret.parent / "secret.victim").read_text() == "precious"
    rest = tuple(layer for layer in ALL_LAYERS if layer not in attack.off)
    control = run(source, given, rest)
    if control.text != "'through'" and attack.name in (
        "use io_uring",
        "set an attribute",
        "keep a secret in the kernel's keys",
    ):
        pytest.skip("this kernel has no such call or the file system no such attribute")
    if attack.name == "lock memory" and os.geteuid() != 0:
        return  # RLIMIT_MEMLOCK binds an ordinary user even without the layers
    assert control.text == "'through'", "the control: without its layers the attack succeeds"


@pytest.mark.parametrize("attack", [c for c in _CASES if c.values[0].off[0] == "landlock"])  # type: ignore[union-attr]
def test_strict_mode_alone_stops_what_landlock_stops(
    attack: attacks.Attack, secret: Path, port: int, victim: int
) -> None:
    _need("seccomp")
    assert (
        run(_function(attack.body), [(str(secret), port, victim)], ("capabilities", "seccomp"), strict=True).text
        != "'through'"
    )


@pytest.mark.parametrize("name", attacks.TIME)
def test_a_program_is_stopped_at_its_deadline(name: str) -> None:
    source = f"import time\ndef f(seconds):\n    end = time.monotonic() + seconds\n{indent(attacks.TIME[name], '    ')}\n    return 'through'"
    started = time.monotonic()
    assert run(source, [(30,)], limits=Limits(wall_s=0.3)).status is Status.TIMEOUT
    assert time.monotonic() - started < 5
    assert run(source, [(0.5,)], limits=Limits(wall_s=20.0)).text == "'through'", (
        "the control: with enough time it ends"
    )


def test_a_program_that_stops_itself_times_out() -> None:
    source = "import os, signal\ndef f():\n    os.kill(os.getpid(), signal.SIGSTOP)\n    return 'through'"
    assert run(source, [()], limits=Limits(wall_s=0.3)).status is Status.TIMEOUT


@pytest.mark.parametrize(
    "register",
    [
        "import atexit, time\natexit.register(time.sleep, 20)",
        "import threading, time\nthreading.Thread(target=time.sleep, args=(20,)).start()",
    ],
)
def test_nothing_runs_after_the_last_answer(register: str) -> None:
    source = f"{register}\ndef f():\n    return 'done'"
    started = time.monotonic()
    assert run(source, [()]).text == "'done'" and time.monotonic() - started < 3
    process = subprocess.Popen([sys.executable, "-c", source])
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(1.0)
    process.kill()
    process.wait()


@pytest.mark.parametrize("name", attacks.SPACE)
def test_memory_is_limited(name: str) -> None:
    source = f"def f():\n{indent(attacks.SPACE[name], '    ')}\n    return 'through'"
    limited = run(source, [()], limits=Limits(memory_bytes=192 * 2**20, wall_s=20))
    assert limited.status in (Status.MEMORY_LIMITED, Status.ERROR, Status.CRASHED)
    assert run(source, [()], limits=Limits(memory_bytes=2**30, wall_s=20)).text == "'through'"


@pytest.mark.parametrize(
    "value",
    ["'x' * 10**6", "[0] * 10**6", "10**4000 * 10**4000 * 10**4000", "b'x' * 10**6", "{i: i for i in range(10**5)}"],
)
def test_output_is_limited(value: str) -> None:
    source = f"import sys\nsys.set_int_max_str_digits(0)\ndef f():\n    return {value}"
    assert run(source, [()], limits=Limits(output_bytes=10_000)).status is Status.OUTPUT_LIMITED
    assert run(source, [()], limits=Limits(output_bytes=8 * 2**20, wall_s=20)).status is Status.OK


@pytest.mark.parametrize(
    "value",
    [
        "deep",
        "cycle",
        "itertools.count()",
        "(i for i in range(3))",
        "iter([1])",
        "map(str, [1])",
        "lambda: 1",
        "f",
        "type",
        "A()",
    ],
)
def test_values_without_a_canonical_text_are_refused(value: str) -> None:
    source = f"import itertools\nclass A: pass\ndeep = []\nfor _ in range(10**5): deep = [deep]\ncycle = {{}}\ncycle[1] = [cycle]\ndef f():\n    return {value}"
    assert run(source, [()]).status is Status.REFUSED


@pytest.mark.parametrize(
    "flood",
    [
        "print('x' * 10**6)",
        "import os; os.write(1, b'x' * 10**6)",
        "import os; os.write(2, b'x' * 10**6)",
        "import sys; sys.stderr.write('x' * 10**6)",
    ],
)
def test_what_a_function_prints_is_discarded(flood: str) -> None:
    assert run(f"def f():\n    for _ in range(50):\n        {flood}\n    return 1", [()]).text == "1"


@pytest.mark.parametrize(
    "flood",
    ["print('x' * 10**5)", "while True: print('x')", "import sys\nfor _ in range(10**5): sys.stdout.write('abc')"],
)
def test_what_a_script_prints_is_limited(flood: str) -> None:
    with Sandbox(workers=1, repeat=False) as box:
        (result,) = box.run([Program("p", flood, "stdin", "", ["", "x"])])
        assert [o.status for o in result.outputs] == [Status.OUTPUT_LIMITED] * 2
        (small,) = box.run([Program("p", "print('x' * 10)", "stdin", "", [""])])
        assert small.outputs[0].text == "x" * 10


def test_environment_and_descriptors_are_clean(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_KEY", "hush")
    with open("/etc/passwd") as file:
        os.set_inheritable(file.fileno(), True)
        layers = tuple(ALL_LAYERS)
        server = ForkServer(layers, 1)
        source = "import os\ndef f(n):\n    found = []\n    for i in range(64):\n        try: os.fstat(i)\n        except OSError: continue\n        found.append(i)\n    return sorted(os.environ), os.environb.get(b'API_KEY'), len(found)"
        output = run_program(
            server, Program("p", source, "function", "f", [(1,)]), [0], Limits(), "one-at-a-time"
        ).outputs[0]
        server.close()
    assert output.text == "(['LC_ALL', 'PYTHONHASHSEED'], None, 4)", "0, 1, 2 and the channel"
    control = subprocess.run(
        [sys.executable, "-c", "import os; print(os.environ['API_KEY'])"], capture_output=True, text=True
    )
    assert control.stdout == "hush\n"


_SEARCH = """
import gc, sys
def f(mine):
    seen, todo = set(), [gc.get_objects()] + list(sys._current_frames().values())
    frame = sys._getframe()
    while frame:
        todo.append(frame.f_locals)
        frame = frame.f_back
    while todo:
        thing = todo.pop()
        if id(thing) in seen: continue
        seen.add(id(thing))
        if isinstance(thing, (str, bytes)):
            text = thing if isinstance(thing, bytes) else thing.encode('utf-8', 'replace')
            if b'TUPNI-REHTO' in text[::-1]: return 'found'
        elif isinstance(thing, dict): todo += list(thing.values())
        elif isinstance(thing, (list, tuple, set)): todo += list(thing)
    return 'nothing'
"""


def test_other_inputs_cannot_be_found_by_frames_and_gc() -> None:
    program = Program("p", _SEARCH, "function", "f", [("mine",), ("OTHER-INPUT",)])
    for inputs, expected in (("one-at-a-time", "'nothing'"), ("fork-each", "'nothing'"), ("together", "'found'")):
        fork_server = server(ALL_LAYERS, Limits(), False)
        run_once = run_program(fork_server, program, [0, 1], Limits(wall_s=20), inputs)  # type: ignore[arg-type]
        assert run_once.outputs[0].text == expected, inputs


def test_other_programs_cannot_be_found() -> None:
    hidden = "text = 'OTHER-INPUT'\nimport builtins, os, sys\nbuiltins.len = lambda x: 7\nos.environ['LEFT'] = '1'\nsys.modules['math'] = 5\ndef f(x):\n    return x"
    looker = _SEARCH.replace(
        "def f(mine):",
        "def f(mine):\n    import math, os\n    assert len([1]) == 1 and math.pi and 'LEFT' not in os.environ",
        1,
    )
    with Sandbox(Limits(wall_s=20), workers=1, repeat=False) as box:
        for source, expected in ((hidden, "'OTHER-INPUT'"), (looker, "'nothing'")):
            given = "OTHER-INPUT" if source is hidden else "mine"
            (result,) = box.run([Program("p", source, "function", "f", [(given,)])])
            assert result.outputs[0].text == expected


_FRAME = "import struct\nok = struct.pack('!HI', 0, 1) + b'9'\nload = struct.pack('!HI', 0x100, 0)\nimport os\ndef say(what):\n    for fd in range(3, 64):\n        try: os.write(fd, what)\n        except OSError: pass\n"


FORGED = (b"007", b"-0", b"1.50", b"{2, 1}", b"{1, 1}", b"{[1]}", b"frozenset({1: 2})")
"""Texts that no value has, though Python would read most of them."""


def test_an_urgent_byte_ends_nothing_but_its_own_program() -> None:
    """A byte sent out of band wakes whoever waits for the channel and cannot be read from it."""
    source = "import socket\ndef f(x):\n    for n in range(3, 64):\n        try: socket.socket(fileno=n).send(b'x', socket.MSG_OOB)\n        except OSError: pass\n    return x"
    programs = [
        Program("oob", source, "function", "f", [(1,), (2,)]),
        Program("b", "def f(x): return x", "function", "f", [(1,)]),
    ]
    for inputs in get_args(Inputs):
        with Sandbox(Limits(wall_s=1), workers=1, inputs=inputs, repeat=False) as box:
            results = list(box.run(programs))
        assert results[1].outputs[0].text == "1" and len(results[0].outputs) == 2


@pytest.mark.parametrize(
    "source",
    [
        f"{_FRAME}say(ok * 3)\ndef f(x): return 1",
        f"{_FRAME}say(load + ok * 2)\ndef f(x): return 1",
        f"{_FRAME}def f(x):\n    say(b'junk' * 100)\n    return 1",
        f"{_FRAME}def f(x):\n    say(struct.pack('!HI', 0, 2**32 - 1))\n    return 1",
        f"{_FRAME}def f(x):\n    say(struct.pack('!HI', 77, 1) + b'1')\n    return 1",
        f"{_FRAME}def f(x):\n    say(struct.pack('!HI', 0, 2) + bytes([255, 254]))\n    return 1",
        f"{_FRAME}def f(x):\n    say(bytes(6))\n    while True: pass",
        f"{_FRAME}def f(x):\n    say(struct.pack('!HI', 0, 3) + b\"'\\t'\")\n    while True: pass",
        f"{_FRAME}def f(x):\n    say(struct.pack('!HI', 0, 6) + b'print(')\n    while True: pass",
        f"{_FRAME}def f(x):\n    say(struct.pack('!HI', 0, 8) + b\"'\\x1b[2J'1\")\n    while True: pass",
        *(f"{_FRAME}def f(x):\n    say(struct.pack('!HI', 0, {len(t)}) + {t!r})\n    while True: pass" for t in FORGED),
        "import os\ndef f(x): os._exit(0)",
        "import sys\ndef f(x): sys.exit(0)",
        "import os\nos.closerange(3, 64)\ndef f(x): return 1",
        "import os\ndef f(x): os.abort()",
        "import ctypes\ndef f(x): return ctypes.string_at(0)",
        "import sys\nsys.setrecursionlimit(10**9)\ndef f(x): return f(x)",
        "class E(Exception): pass\nE.__name__ = E.__qualname__ = '9'\ndef f(x): raise E('9')",
        "def f(x): raise BaseException('9')",
        "def f(x): raise type('ok', (Exception,), {'__str__': lambda s: '9'})",
        "import builtins, json\nfor n in ('repr', 'ascii', 'len', 'type', 'str', 'isinstance', 'sorted', 'print'): setattr(builtins, n, lambda *a, **k: '9')\njson.dumps = lambda *a: '9'\nclass A: pass\ndef f(x): return A()",
        "import sys, gc\nfor m in list(sys.modules.values()):\n    for n in list(getattr(m, '__dict__', {})):\n        if n in ('canonical_text', '_text'): setattr(m, n, lambda *a: 'x' * 10**6)\ndef f(x): return object()",
        "import sys\ndef f(x):\n    sys._getframe(1).f_globals['canonical_text'] = lambda *a: chr(233)\n    return object()",
    ],
)
def test_forged_answers_are_refused(source: str) -> None:
    """A program can lie about its own answer, but it cannot break the protocol.

    It can get no other status, and insert no foreign text.
    """
    program = Program("forger", source, "function", "f", [(1,), (2,), (3,)])
    outputs = run_program(
        server(ALL_LAYERS, Limits(wall_s=1), False), program, range(3), Limits(wall_s=1), "one-at-a-time"
    ).outputs
    assert all(o.status is not Status.OK and o.text is None for o in outputs)
    assert all("9" not in o.detail for o in outputs)
    honest = run("def f(x): return x", [(5,)])
    assert honest.text == "5", "the fork server continues to work"


BASES = {
    "a subclass of int": "1",
    "a subclass of str": "'x'",
    "a subclass of list": "[1]",
    "a subclass of float in a list": "[1.0]",
}
"""The answer for a value of a subclass: what its base holds, and nothing that the subclass claims."""


@pytest.mark.parametrize("name", attacks.LIES)
def test_objects_that_claim_to_equal_everything_are_refused(name: str) -> None:
    output = run(attacks.LIES[name], [(1,)])
    assert output.status is Status.REFUSED if name not in BASES else output.text == BASES[name]
    names: dict[str, object] = {}
    exec(attacks.LIES[name], names)
    assert names["f"](1) == ["anything"], "the control: a judge that compares in the same process is fooled"  # type: ignore[operator]


@pytest.mark.parametrize(
    "source",
    [
        "seen = []\ndef f(x):\n    seen.append(x)\n    return len(seen)",
        "def f(x, memory=[]):\n    memory.append(x)\n    return memory[0]",
        "def f(x):\n    return hash('a')",
        "def f(x):\n    return id(object()) + x * 0 + __import__('time').monotonic_ns()",
        "def f(x):\n    return list({str(i) for i in range(20)})",
        "import os\ndef f(x):\n    return os.urandom(4)",
    ],
)
def test_state_and_randomness_are_detected(source: str) -> None:
    with Sandbox(workers=1) as box:
        (result,) = box.run([Program("p", source, "function", "f", [(1,), (2,), (3,)])])
    assert result.deterministic is False and all(o.status is Status.OK for o in result.outputs)


def test_a_fork_per_input_keeps_no_state() -> None:
    source = "seen = []\ndef f(x):\n    seen.append(x)\n    return len(seen)"
    program = Program("p", source, "function", "f", [(1,), (2,), (3,)])
    for inputs, expected in (("fork-each", ["1", "1", "1"]), ("one-at-a-time", ["1", "2", "3"])):
        outputs = run_program(server(ALL_LAYERS, Limits(), False), program, range(3), Limits(), inputs).outputs  # type: ignore[arg-type]
        assert [o.text for o in outputs] == expected


@pytest.mark.parametrize("strict", [False, True])
def test_the_name_of_the_host_is_hidden(strict: bool) -> None:
    source = "import os, platform\ndef f():\n    return platform.node(), os.uname().nodename, os.uname().release"
    assert run(source, [()], strict=strict).text == "('localhost', 'localhost', '')"
    assert os.uname().release, "the control: outside the sandbox there is one"
