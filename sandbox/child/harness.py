"""Child side: reads one program and its inputs from the parent, runs them, and answers in frames.

Wire, from the parent: `!I` length + bytes for the header (kind, entry point, source) and for every input.
Wire, to the parent: 2-byte status, 4-byte length, payload; one frame for loading, then one an input.
The names it needs are bound before any program text runs. A program can still lie about its own answers: it could
as well just return the lie. What it cannot reach is other inputs' right answers (there are none here), its
status of time and memory, or other programs.
"""

import builtins
import io
import os
import socket
import struct
import sys

from canonical import NoCanonicalText, TooLong, canonical_text
from literals import decode_value

OK, ERROR, OUTPUT_LIMITED, NO_TEXT, MEMORY, NOT_COMPILED = 0, 1, 2, 3, 4, 5
LOADING = 0x100  # set in the status of the frame about loading, so that it is never taken for an answer

_exec, _compile, _BaseException, _MemoryError, _SystemExit = exec, compile, BaseException, MemoryError, SystemExit
_type, _getattr, _isinstance, _pack, _unpack, _len, _int = type, getattr, isinstance, struct.pack, struct.unpack, len, int
_recv, _send, _recv_fds, _dup2, _close, _lseek = (
    socket.socket.recv, socket.socket.sendall, socket.recv_fds, os.dup2, os.close, os.lseek,
)  # fmt: skip
_StringIO, _FileIO, _BufferedReader, _TextIOWrapper = io.StringIO, io.FileIO, io.BufferedReader, io.TextIOWrapper
_BUILTIN_EXCEPTIONS = {
    value: name for name, value in vars(builtins).items() if isinstance(value, type) and issubclass(value, BaseException)
}
_module_type = type(sys)


class _Flood(BaseException):
    """More was printed than the limit allows."""


class _CappedText(_StringIO):
    def __init__(self, limit):
        super().__init__()
        self.left = limit
        self.flooded = False

    def write(self, text):
        self.left -= _len(text)
        if self.left < 0:
            self.flooded = True
            raise _Flood
        return super().write(text)


def _read_exactly(channel, size):
    parts = []
    while size:
        part = _recv(channel, min(size, 1 << 20))
        if not part:
            os._exit(0)
        parts.append(part)
        size -= _len(part)
    return b"".join(parts)


def _read_block(channel):
    return _read_exactly(channel, _unpack("!I", _read_exactly(channel, 4))[0])


def _answer(channel, status, payload=b""):
    _send(channel, _pack("!HI", status, _len(payload)) + payload)


def _failure(error):
    if _isinstance(error, _MemoryError):
        return MEMORY, b""
    if _isinstance(error, _Flood):
        return OUTPUT_LIMITED, b""
    name = _BUILTIN_EXCEPTIONS.get(_type(error), "")
    return ERROR, name.encode()


def serve(channel, kind, output_bytes, together, n_inputs):
    """The whole life of a child after it has been locked down."""
    builtins.exit = builtins.quit = sys.exit  # as `site` would give them
    entry_point = _read_block(channel).decode()
    source = _read_block(channel)
    inputs = [_read_block(channel) for _ in range(n_inputs)] if together else None
    try:
        code = _compile(source, "<program>", "exec", dont_inherit=True)
    except _BaseException as error:
        status, payload = _failure(error)
        _answer(channel, LOADING | (NOT_COMPILED if status == ERROR else status), payload)
        return
    if kind == "stdin":
        _answer(channel, LOADING | OK)
        _serve_stdin(channel, code, output_bytes, n_inputs, inputs)
        return
    try:
        function = _load_function(code, entry_point)
    except _BaseException as error:
        status, payload = _failure(error)
        _answer(channel, LOADING | status, payload)
        return
    _answer(channel, LOADING | OK)
    for i in range(n_inputs):
        raw = inputs[i] if together else _read_block(channel)
        _answer(channel, *_call(function, raw, output_bytes))


def _load_function(code, entry_point):
    module = _module_type("program")
    sys.modules["program"] = module
    _exec(code, module.__dict__)
    name, _, method = entry_point.partition(".")
    target = module.__dict__[name]
    if not method:
        return target
    return lambda *arguments: _getattr(target(), method)(*arguments)


def _call(function, raw, output_bytes):
    try:
        arguments = decode_value(raw.decode("utf-8", "surrogatepass"))
        value = function(*arguments)
        return OK, canonical_text(value, output_bytes).encode("ascii")
    except TooLong:
        return OUTPUT_LIMITED, b""
    except NoCanonicalText:
        return NO_TEXT, b""
    except _BaseException as error:
        return _failure(error)


def _serve_stdin(channel, code, output_bytes, n_inputs, inputs):
    for i in range(n_inputs):
        raw = inputs[i] if inputs is not None else _read_block(channel)
        _, descriptors, _, _ = _recv_fds(channel, 1, 1)
        if not descriptors:
            os._exit(0)
        _dup2(descriptors[0], 0)
        _close(descriptors[0])
        _lseek(0, 0, 0)
        del raw
        _answer(channel, *_run_script(code, output_bytes))


def _run_script(code, output_bytes):
    out = _CappedText(output_bytes)
    sys.stdin = sys.__stdin__ = _TextIOWrapper(_BufferedReader(_FileIO(0, closefd=False)), "utf-8", "surrogateescape")
    sys.stdout = sys.__stdout__ = out
    module = _module_type("__main__")
    sys.modules["__main__"] = module
    try:
        _exec(code, module.__dict__)
    except _SystemExit as error:
        if error.code is not None and error.code != 0:
            return ERROR, b"SystemExit"
    except _BaseException as error:
        return (OUTPUT_LIMITED, b"") if out.flooded else _failure(error)
    if out.flooded:
        return OUTPUT_LIMITED, b""
    lines = [line.rstrip() for line in _StringIO.getvalue(out).split("\n")]
    text = "\n".join(lines).rstrip()
    return OK, text.encode("utf-8", "backslashreplace")
