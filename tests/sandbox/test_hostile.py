"""One attack a test, each with its control: the same program with the layer off that should stop it, where it succeeds."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox import Limits, Program
from sandbox.conversation import run_program
from sandbox.fork_server import ForkServer
from sandbox.guarantees import ALL_LAYERS, available_layers

ATTACKS = {
    "read a secret": ("landlock", "def f(path, port):\n    return open(path).read()"),
    "list a folder": ("landlock", "import os\ndef f(path, port):\n    return 'secret' in os.listdir(os.path.dirname(path))"),
    "read /proc": ("landlock", "def f(path, port):\n    return open('/proc/1/status').read(4)"),
    "connect by TCP": ("seccomp", "import socket\ndef f(path, port):\n    return socket.create_connection(('127.0.0.1', port)).fileno() > 0"),
    "send by UDP": ("seccomp", "import socket\ndef f(path, port):\n    return socket.socket(2, 2).sendto(b'x', ('127.0.0.1', port))"),
    "open a unix socket": ("seccomp", "import socket\ndef f(path, port):\n    return socket.socket(socket.AF_UNIX).fileno() > 0"),
    "fork": ("seccomp", "import os\ndef f(path, port):\n    pid = os.fork()\n    if not pid: os._exit(0)\n    return pid > 0"),
    "run a program": ("seccomp", "import subprocess\ndef f(path, port):\n    return subprocess.run(['/bin/true']).returncode"),
    "signal another process": ("seccomp", "import os\ndef f(path, port):\n    return os.kill(os.getppid(), 0)"),
    "make a memory file": ("seccomp", "import os\ndef f(path, port):\n    return os.memfd_create('x') > 0"),
    "change permissions": ("seccomp", "import os\ndef f(path, port):\n    os.chmod(path, 0o777)\n    return os.stat(path).st_mode & 0o777 == 0o777"),
}


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_text("the secret")
    path.chmod(0o600)
    return path


@pytest.fixture
def port() -> Iterator[int]:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server.getsockname()[1]


def _answer(layers: tuple[str, ...], source: str, secret: Path, port: int) -> str | None:
    server = ForkServer(layers, 1)
    try:
        program = Program("attack", source, "function", "f", [(str(secret), port)])
        return run_program(server, program, [0], Limits(), "one-at-a-time").outputs[0].text
    finally:
        server.close()


@pytest.mark.parametrize("name", ATTACKS)
def test_attack_fails_with_all_layers_and_succeeds_without_its_own(name: str, secret: Path, port: int) -> None:
    layer, source = ATTACKS[name]
    if layer not in available_layers():
        assert not os.environ.get("CI"), f"CI's kernel has {layer}"
        pytest.skip(f"this kernel has no {layer}")
    assert _answer(ALL_LAYERS, source, secret, port) in (None, "False")
    assert secret.stat().st_mode & 0o777 == 0o600
    # the control: Landlock stops TCP and starting programs a second time, so there it goes too
    off = {layer, "landlock"} if name in ("connect by TCP", "run a program") else {layer}
    assert _answer(tuple(x for x in ALL_LAYERS if x not in off), source, secret, port) not in (None, "False")


def test_writing_fails_and_leaves_nothing(tmp_path: Path, port: int) -> None:
    target = tmp_path / "written"
    source = "def f(path, port):\n    open(path, 'w').close()\n    return True"
    assert _answer((), source, target, port) == "True" and target.exists()
    target.unlink()
    assert _answer(ALL_LAYERS, source, target, port) is None and not target.exists()


@pytest.mark.parametrize(
    "source",
    [
        "import os, struct\nfor fd in range(3, 64):\n    try: os.write(fd, struct.pack('!HI', 0, 1) + b'9')\n    except OSError: pass\ndef f(a, b):\n    return 1",
        "import os, struct\ndef f(a, b):\n    for fd in range(3, 64):\n        try: os.write(fd, b'junk' * 100)\n        except OSError: pass\n    return 1",
        "import os\ndef f(a, b):\n    os._exit(0)",
        "import builtins\nbuiltins.len = builtins.repr = builtins.type = lambda *a: 'forged'\ndef f(a, b):\n    return object()",
        "def f(a, b):\n    class X(int):\n        def __repr__(self): return 'forged'\n        def __eq__(self, o): return True\n    return X(1)",
        "class E(Exception): pass\nE.__name__ = 'forged'\ndef f(a, b):\n    raise E('forged')",
    ],
)
def test_nothing_forged_counts_as_ok(source: str, secret: Path, port: int) -> None:
    server = ForkServer(ALL_LAYERS, 1)
    try:
        program = Program("forger", source, "function", "f", [(1, 2), (3, 4)])
        outputs = run_program(server, program, [0, 1], Limits(), "one-at-a-time").outputs
    finally:
        server.close()
    assert all(o.text is None and o.status.value != "ok" and "forged" not in o.detail for o in outputs)


def test_an_endless_program_that_catches_everything_is_killed(secret: Path, port: int) -> None:
    source = "import signal\nsignal.signal(signal.SIGALRM, signal.SIG_IGN)\ndef f(a, b):\n    while True:\n        try:\n            while True: pass\n        except BaseException: pass"
    server = ForkServer(ALL_LAYERS, 1)
    try:
        program = Program("endless", source, "function", "f", [(1, 2)])
        output = run_program(server, program, [0], Limits(wall_s=0.3), "one-at-a-time").outputs[0]
    finally:
        server.close()
    assert output.status.value == "timeout" and output.wall_s < 2
