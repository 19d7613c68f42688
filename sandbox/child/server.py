"""Child side: the fork server. One is started by the parent for every worker and hash seed, and locks itself down.

It never sees source, inputs or outputs, since its heap is inherited by every later child: each request hands it
a socket (SCM_RIGHTS) on which the child speaks with the parent directly. A dead child stays a zombie until the
parent says so; its pid cannot be taken by another process before the parent's last signal.
Wire: `F` + header with a socket -> pid; `R` -> exit status, CPU seconds, peak memory.
"""

import gc
import os
import socket
import struct
import sys

HEADER = struct.Struct("!c?III")  # kind (f or s), together, inputs, CPU seconds, output bytes
PRELOADED = [
    "abc", "bisect", "collections", "collections.abc", "contextlib", "copy", "datetime", "decimal", "enum",
    "fractions", "functools", "heapq", "io", "itertools", "math", "operator", "os", "re", "string", "struct", "sys",
    "time", "types", "typing",
]  # fmt: skip
"""Every module costs each fork its pages and mappings: only what many programs import, or the harness itself."""
PRELOADED_STRICT = [
    "array", "ast", "base64", "calendar", "cmath", "concurrent.futures.thread", "csv", "dataclasses", "difflib",
    "encodings.idna", "encodings.latin_1", "encodings.utf_16", "hashlib", "html", "inspect", "json", "numbers", "pprint",
    "queue", "secrets", "statistics", "textwrap", "threading", "traceback", "unicodedata", "uuid", "zlib", "_strptime",
]  # fmt: skip
"""Strict mode opens no file once a program runs, so what modules load late must be there."""


def main():
    control = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, 0, fileno=int(sys.argv[1]))
    layers = tuple(name for name in sys.argv[2].split(",") if name)
    seed, memory_bytes, open_files, strict = (int(argument) for argument in sys.argv[3:7])
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    register_at_fork, os.register_at_fork = os.register_at_fork, lambda **hooks: None
    for name in PRELOADED + (PRELOADED_STRICT if strict else []):
        __import__(name)
    import random  # only now: imported before, it would seed itself anew in every child

    import harness
    import lockdown

    os.register_at_fork = register_at_fork
    sys.path.pop(0)
    os.chdir("/")
    try:
        lockdown.lock_server(layers, memory_bytes, open_files)
    except OSError as error:
        control.sendall(b"E" + str(error).encode()[:200])
        return
    harness.warm_up()
    random.seed(seed)
    gc.collect()
    gc.freeze()
    control.sendall(b"K")
    _serve(control, layers, harness, lockdown, lockdown.lock_paths if strict else None)


def _serve(control, layers, harness, lockdown, lock_paths):
    me, child = os.getpid(), 0
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, 1 + HEADER.size, 1)
        if not message:
            os._exit(0)
        if message[:1] == b"F":
            child = os.fork()
            if child == 0:
                os.close(control.fileno())
                _be_child(message[1:], descriptors[0], me, layers, harness, lockdown, lock_paths)
            os.close(descriptors[0])
            control.sendall(struct.pack("!I", child))
        else:
            _, status, usage = os.wait4(child, 0)
            peak = usage.ru_maxrss * (1024 if sys.platform == "linux" else 1)
            control.sendall(struct.pack("!idQ", status, usage.ru_utime + usage.ru_stime, peak))


def _be_child(header, descriptor, parent, layers, harness, lockdown, lock_paths):
    try:
        kind, together, n_inputs, cpu, output = HEADER.unpack(header)
        lockdown.lock_child(parent, cpu, layers)
        for name in ("harness", "lockdown", "canonical", "__main__"):
            sys.modules.pop(name, None)
        harness.serve(descriptor, "stdin" if kind == b"s" else "function", output, together, n_inputs, lock_paths)
    finally:
        os._exit(0)


if __name__ == "__main__":
    main()
