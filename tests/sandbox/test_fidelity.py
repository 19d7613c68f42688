"""A program gets what Python gives a program: arguments, its end, descriptor 1, and plain answers for special types."""

from __future__ import annotations

import pytest

from sandbox import Limits, Output, Program, Sandbox, Status
from tests.sandbox.conftest import run

SCRIPTS = {
    "arguments": ("import sys\nprint(sys.argv, len(sys.orig_argv))", "[''] 1"),
    "argparse": ("import argparse\np = argparse.ArgumentParser()\np.add_argument('--n', default=3)\nprint(p.parse_args().n)", "3"),
    "fileinput": ("import fileinput\nprint(sum(int(line) for line in fileinput.input()))", "6"),
    "a thread that is no daemon": (
        "import threading, time\ndef g():\n    time.sleep(0.1)\n    print('late')\nthreading.Thread(target=g).start()\nprint('early')",
        "early\nlate",
    ),
    "a pool of threads": (
        "from concurrent.futures import ThreadPoolExecutor\np = ThreadPoolExecutor(2)\nf = p.submit(print, 'x')",
        "x",
    ),
    "atexit": ("import atexit\natexit.register(print, 'bye')\nprint('hello')", "hello\nbye"),
    "atexit after exit()": ("import atexit, sys\natexit.register(print, 'bye')\nsys.exit(0)", "bye"),
    "os.write": ("import os\nos.write(1, b'by descriptor')", "by descriptor"),
    "fileno": ("import os, sys\nos.write(sys.stdout.fileno(), b'by fileno')", "by fileno"),
    "the buffer": ("import sys\nsys.stdout.buffer.write(b'bytes\\n')\nprint('text')", "bytes\ntext"),
    "a wrapped output": (
        "import io, sys\nsys.stdout = io.TextIOWrapper(sys.stdout.buffer, 'utf-8')\nprint('wrapped')",
        "wrapped",
    ),
    "open(1)": ("print('opened', file=open(1, 'w', closefd=False))", "opened"),
    "open(1) without a buffer": ("f = open(1, 'wb', 0)\nf.write(b'opened')", "opened"),
    "an object that prints at the end": ("class A:\n    def __del__(self): print('gone')\na = A()\nprint('here')", "here\ngone"),
    "an end without cleaning up": ("import os\nos.write(1, b'out')\nos._exit(0)", "out"),
    "closed descriptors": ("import os\nos.closerange(3, 64)\nprint('still here')", "still here"),
    "the raw stream": ("import sys\nprint(sys.stdout.buffer.raw.mode, sys.stdin.mode, sys.stdout.name)", "wb r <stdout>"),
    "a byte order mark": ("\ufeffprint('x')", "x"),
    "__builtins__": ("print(__builtins__.len('abc'), __name__)", "3 __main__"),
    "dup": ("import os\nos.write(os.dup(1), b'copy')", "copy"),
    "nothing": ("x = 1", ""),
    "nothing of ours": ("import sys\nprint([m for m in sys.modules if m in ('harness', 'lockdown', 'canonical', 'server')])", "[]"),
    "open(0)": ("print(sum(map(int, open(0).read().split())))", "6"),
    "print after a closed output": ("import sys\nprint('before')\nsys.stdout.close()", "before"),
}  # fmt: skip


def _script(source: str, inputs: list[object], limits: Limits | None = None) -> tuple[Output, ...]:
    with Sandbox(limits or Limits(wall_s=3), workers=1) as sandbox:
        (result,) = sandbox.run([Program("p", source, "stdin", "", inputs)])
    assert result.deterministic is not False
    return result.outputs


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_gets_what_python_gives_it(name: str) -> None:
    source, printed = SCRIPTS[name]
    outputs = _script(source, ["1\n2\n3\n", "1\n2\n3\n"])
    assert [(o.status, o.text) for o in outputs] == [(Status.OK, printed)] * 2, "each input has a fresh interpreter"


def test_what_a_script_prints_is_limited_whichever_way_it_goes() -> None:
    for source in ("while True: print('x' * 99)", "import os\nwhile True: os.write(1, b'x' * 99)"):
        (output,) = _script(source, ["1"], Limits(output_bytes=1000))
        assert output.status is Status.OUTPUT_LIMITED
    (output,) = _script("print('x' * 999)", ["1"], Limits(output_bytes=1000))
    assert output.status is Status.OK and output.text == "x" * 999


def test_how_a_script_fails_is_told_apart() -> None:
    for source, status, detail in (
        ("import sys\nsys.exit(3)", Status.ERROR, "SystemExit"),
        ("raise ValueError", Status.ERROR, "ValueError"),
        ("import os\nprint(1)\nos._exit(1)", Status.ERROR, "SystemExit"),
        ("import os\nos.abort()", Status.CRASHED, "the process vanished"),
        ("import os\nos.closerange(3, 64)\nwhile True: pass", Status.TIMEOUT, "longer than 1 s"),
    ):
        (output,) = _script(source, ["1"], Limits(wall_s=1))
        assert (output.status, output.detail) == (status, detail), source


def test_a_script_cannot_report_its_own_success() -> None:
    """A frame that says `ok` breaks the protocol, whatever was printed before."""
    source = "import os, struct\nprint('x', flush=True)\nfor n in range(3, 64):\n    try: os.write(n, struct.pack('!HI', 0, 0))\n    except OSError: pass\n"
    (output,) = _script(source, ["1"])
    assert output.status is Status.REFUSED


def test_a_thread_that_never_ends_is_a_time_out() -> None:
    source = "import threading\ndef g():\n    while True: pass\nthreading.Thread(target=g).start()"
    (output,) = _script(source, ["1"], Limits(wall_s=0.3))
    assert output.status is Status.TIMEOUT


VALUES = {
    "Counter": ("import collections", "collections.Counter('abca')", "{'a': 2, 'b': 1, 'c': 1}"),
    "defaultdict": ("import collections", "collections.defaultdict(list, {1: [2]})", "{1: [2]}"),
    "OrderedDict": ("import collections", "collections.OrderedDict(a=1)", "{'a': 1}"),
    "namedtuple": ("import collections", "collections.namedtuple('P', 'x y')(1, 2)", "(1, 2)"),
    "IntEnum": ("import enum", "enum.IntEnum('E', 'A B').B", "2"),
    "StrEnum": ("import enum", "enum.StrEnum('E', 'A').A", "'a'"),
    "str": ("class S(str): pass", "S('x')", "'x'"),
    "list of tuples": ("class L(list): pass\nclass T(tuple): pass", "L([T((1, 2))])", "[(1, 2)]"),
    "set": ("class S(set): pass", "S({1})", "{1}"),
    "an int of 5000 digits": ("", "10 ** 5000", "1" + "0" * 5000),
}
LIARS = {
    "str": ("class A(str):\n    def __repr__(self): return 'lie'\n    __str__ = __repr__\n    def __iter__(self): return iter('lie')\n    def __len__(self): return 3\n    def __add__(self, o): return 'lie'\n    __radd__ = __add__", "A('true')", "'true'"),
    "int": ("class A(int):\n    def __repr__(self): return '9'\n    def __int__(self): return 9\n    __index__ = __int__\n    def bit_length(self): return 1", "A(1)", "1"),
    "list": ("class A(list):\n    def __iter__(self): return iter([9])\n    def __len__(self): return 1\n    def __getitem__(self, i): return 9", "A([1, 2])", "[1, 2]"),
    "dict": ("class A(dict):\n    def items(self): return [(9, 9)]\n    def copy(self): return {9: 9}\n    def __iter__(self): return iter([9])\n    def keys(self): return [9]", "A(a=1)", "{'a': 1}"),
    "tuple": ("class A(tuple):\n    def __iter__(self): return iter((9,))", "A((1, 2))", "(1, 2)"),
    "float": ("class A(float):\n    def __float__(self): return 9.0\n    def __repr__(self): return '9.0'", "A(1.5)", "1.5"),
}  # fmt: skip


@pytest.mark.parametrize(("group", "name"), [(g, n) for g in ("VALUES", "LIARS") for n in globals()[g]])
def test_a_value_of_a_subclass_is_answered_as_its_base(group: str, name: str) -> None:
    before, value, text = globals()[group][name]
    output = run(f"{before}\ndef f():\n    return {value}\n", [()])
    assert (output.status, output.text) == (Status.OK, text)


def test_what_only_claims_to_be_a_base_is_refused() -> None:
    source = "class A:\n    __class__ = int\n    def __int__(self): return 1\ndef f():\n    return A()\n"
    assert run(source, [()]).status is Status.REFUSED


def test_flags_of_the_standard_descriptors_are_not_shared() -> None:
    """One program sets O_NONBLOCK and O_APPEND on its descriptors; the next one sees them as they were."""
    setting = "import fcntl, os\ndef f():\n    for n in (0, 1, 2): fcntl.fcntl(n, fcntl.F_SETFL, os.O_NONBLOCK | os.O_APPEND)\n    return 1\n"
    asking = "import fcntl, os\ndef f():\n    return [fcntl.fcntl(n, fcntl.F_GETFL) & (os.O_NONBLOCK | os.O_APPEND) for n in (0, 1, 2)]\n"
    assert run(setting, [()]).text == "1"
    assert run(asking, [()]).text == "[0, 0, 0]"
