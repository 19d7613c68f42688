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

HEADER = struct.Struct("!c?IQIII")  # kind (f or s), together, inputs, memory, CPU seconds, files, output bytes
PRELOADED = [
    "abc", "array", "ast", "base64", "bisect", "calendar", "cmath", "collections", "collections.abc",
    "contextlib", "copy", "csv", "dataclasses", "datetime", "decimal", "difflib", "enum", "fractions",
    "functools", "hashlib", "heapq", "html", "inspect", "io", "itertools", "json", "keyword", "math", "numbers",
    "operator", "os", "os.path", "pprint", "queue", "random", "re", "secrets", "statistics", "string", "struct",
    "sys", "textwrap", "threading", "time", "traceback", "types", "typing", "unicodedata", "uuid", "zlib",
]  # fmt: skip


def main():
    control = socket.socket(fileno=int(sys.argv[1]))
    layers = tuple(name for name in sys.argv[2].split(",") if name)
    seed = int(sys.argv[3])
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    register_at_fork, os.register_at_fork = os.register_at_fork, lambda **hooks: None
    for name in PRELOADED:
        __import__(name)
    import random  # only now: imported before, it would seed itself anew in every child

    import harness
    import lockdown

    os.register_at_fork = register_at_fork
    sys.path.pop(0)
    random.seed(seed)
    os.chdir("/")
    try:
        lockdown.lock_server(layers)
    except OSError as error:
        control.sendall(b"E" + str(error).encode()[:200])
        return
    gc.collect()
    gc.freeze()
    control.sendall(b"K")
    _serve(control, layers, harness, lockdown)


def _serve(control, layers, harness, lockdown):
    me, child = os.getpid(), 0
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, 1 + HEADER.size, 1)
        if not message:
            os._exit(0)
        if message[:1] == b"F":
            child = os.fork()
            if child == 0:
                control.close()
                _be_child(message[1:], descriptors[0], me, layers, harness, lockdown)
            os.close(descriptors[0])
            control.sendall(struct.pack("!I", child))
        else:
            _, status, usage = os.wait4(child, 0)
            control.sendall(struct.pack("!idQ", status, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024))


def _be_child(header, descriptor, parent, layers, harness, lockdown):
    try:
        kind, together, n_inputs, memory, cpu, files, output = HEADER.unpack(header)
        lockdown.lock_child(parent, memory, cpu, files, layers)
        channel = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, fileno=descriptor)
        for name in ("harness", "lockdown", "canonical", "literals", "__main__"):
            sys.modules.pop(name, None)
        harness.serve(channel, "stdin" if kind == b"s" else "function", output, together, n_inputs)
    finally:
        os._exit(0)


if __name__ == "__main__":
    main()
