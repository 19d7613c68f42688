"""Child side: read one program and its inputs from the parent, run it on them, and answer in frames.

Protocol, from the parent: `!I` length + marshal of (kind, together, number of inputs, CPU seconds, output bytes, entry
point, source, inputs sent together), then each further input with its length.
Protocol, to the parent: 2-byte status, 4-byte length, payload; one frame for loading, then one frame per input.
The names that this code needs are bound before any program text runs. A program can still lie about its own answers,
but it could as well return the lie. It cannot reach the right answers of other inputs (there are none here), its
status of time and memory, or other programs.
"""

import _socket
import builtins
import io
import marshal
import os
import struct
import sys

from canonical import NoCanonicalText, TooLong, bind_standard_types, canonical_text

OK, ERROR, OUTPUT_LIMITED, NO_TEXT, MEMORY, NOT_COMPILED = 0, 1, 2, 3, 4, 5
OWN_FAILURE = 70  # the exit status of a child that could not do its work
_HARNESS_FRAMES = 10
LOADING = 0x100  # set in the status of the frame about loading, so that it is never taken for an answer

_exec, _compile, _BaseException, _MemoryError, _SystemExit = exec, compile, BaseException, MemoryError, SystemExit
_type, _getattr, _isinstance, _pack, _unpack, _len = type, getattr, isinstance, struct.pack, struct.unpack, len
_read, _write, _dup2, _close, _lseek = os.read, os.write, os.dup2, os.close, os.lseek
_recvmsg = _socket.socket.recvmsg
_decode = marshal.loads  # for data from the parent only
_FileIO, _BufferedReader, _BufferedWriter, _TextIOWrapper = (
    io.FileIO,
    io.BufferedReader,
    io.BufferedWriter,
    io.TextIOWrapper,
)
_BUILTIN_EXCEPTIONS = {
    value: name
    for name, value in vars(builtins).items()
    if isinstance(value, type) and issubclass(value, BaseException)
}
_module_type = type(sys)
_random_seed = 0


def receive_descriptors(channel, size):
    """Receive (message, the descriptors that came with SCM_RIGHTS; at most two)."""
    message, ancillary, _, _ = _recvmsg(channel, size, 24)
    raw = ancillary[0][2] if ancillary else b""
    return message, _unpack(str(_len(raw) // 4) + "i", raw)


def _read_block(channel):
    """Read one block of the parent, which sends nothing more until it has an answer; exit at the end of the channel."""
    block, size = b"", 4
    while _len(block) < size:
        part = _read(channel, 1 << 20)
        if not part:
            os._exit(OWN_FAILURE)
        block = block + part if block else part
        size = 4 + _unpack("!I", block[:4])[0] if _len(block) >= 4 else 4
    return block[4:]


def _answer(channel, status, payload=b""):
    frame = _pack("!HI", status, _len(payload)) + payload
    while frame:
        frame = frame[_write(channel, frame) :]


def _failure(error):
    if _isinstance(error, _MemoryError):
        return MEMORY, b""
    name = _BUILTIN_EXCEPTIONS.get(_type(error), "")
    return ERROR, name.encode()


def prepare(hash_seed):
    """Prepare the fork server once for all its children.

    Keep the seed, add the names that `site` would add, and run the first code paths so that Python specialises them.
    """
    global _random_seed
    _random_seed = hash_seed
    builtins.exit = builtins.quit = sys.exit  # as `site` would give them
    for _ in range(20):
        code = _compile(
            "def f(x):\n    return [x, 1.5, 'a', (None, {'b': 2})]\n", "<program>", "exec", dont_inherit=True
        )
        _call(_load_function(code, "f"), marshal.dumps((1,)), 100)
    sys.modules.pop("program")


def serve(channel, limit_cpu, lock_paths=None):
    """Load one program and answer its inputs: all that a locked-down child does. `channel` is a descriptor.

    In strict mode `lock_paths` is called after the modules that the program names are imported, and before any program
    text runs.
    """
    kind, together, n_inputs, cpu_seconds, output_bytes, entry_point, source, *inputs = _decode(_read_block(channel))
    limit_cpu(cpu_seconds)
    source = source.removeprefix("\ufeff")
    bind_standard_types(source)
    if "random" in source:
        import random

        random.seed(_random_seed)
    if lock_paths:
        _import_named(source)
        lock_paths()
    try:
        code = _compile(source, "<program>", "exec", dont_inherit=True)
    except _BaseException as error:
        status, payload = _failure(error)
        _answer(channel, LOADING | (NOT_COMPILED if status == ERROR else status), payload)
        return
    if kind == "stdin":
        _answer(channel, LOADING | OK)
        _serve_stdin(channel, code)
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
    module.__dict__["__builtins__"] = builtins
    sys.modules["program"] = module
    _exec(code, module.__dict__)
    name, _, method = entry_point.partition(".")
    target = module.__dict__[name]
    if not method:
        return target
    return lambda *arguments: _getattr(target(), method)(*arguments)


def _call(function, raw, output_bytes):
    try:
        value = function(*_decode(raw))
        return OK, canonical_text(value, output_bytes).encode("ascii")
    except TooLong:
        return OUTPUT_LIMITED, b""
    except NoCanonicalText:
        return NO_TEXT, b""
    except _BaseException as error:
        return _failure(error)


def _serve_stdin(channel, code):
    """Run the script on the input file that the parent sends, with the file for its output; end as the script ends.

    The parent takes the output when the process has ended. Only an exception is reported, by its name.
    """
    parent_socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, 0, fileno=channel)
    _, descriptors = receive_descriptors(parent_socket, 1)
    parent_socket.detach()  # the channel stays open until the process ends
    if _len(descriptors) != 2:
        os._exit(OWN_FAILURE)
    for target, descriptor in enumerate(descriptors):
        _dup2(descriptor, target)
        _close(descriptor)
    _lseek(0, 0, 0)
    _open_standard_streams()
    module = _module_type("__main__")
    module.__dict__.update(__builtins__=builtins, __annotations__={})
    sys.modules["__main__"] = module
    sys.setrecursionlimit(sys.getrecursionlimit() + _HARNESS_FRAMES)
    try:
        _exec(code, module.__dict__)
    except _SystemExit:
        raise
    except _BaseException as error:
        _answer(channel, *_failure(error))
        os._exit(1)
    raise _SystemExit(0)


def _open_standard_streams():
    """Open standard input and output as Python does for files."""
    for name, descriptor, mode, buffered in (("stdin", 0, "r", _BufferedReader), ("stdout", 1, "w", _BufferedWriter)):
        raw = _FileIO(descriptor, mode, closefd=False)
        raw.name = "<" + name + ">"
        stream = _TextIOWrapper(buffered(raw), "utf-8", "surrogateescape" if mode == "r" else "strict")
        stream.mode = mode
        setattr(sys, name, stream)
        setattr(sys, "__" + name + "__", stream)


def _import_named(source):
    """Import the standard modules that a program names, while files can still be opened (strict mode)."""
    import ast

    try:
        tree = ast.parse(source)
    except _BaseException:
        return
    for node in ast.walk(tree):
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [node.module]
        for name in names:
            if name.partition(".")[0] in sys.stdlib_module_names:
                try:
                    __import__(name)
                except _BaseException:
                    continue
