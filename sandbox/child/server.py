"""Child side: the fork server, which locks itself down and forks a child per request.

The parent starts one for every worker and hash seed. Every later child inherits the server's heap, so the server never
sees source, inputs or outputs: each request hands it a socket (SCM_RIGHTS) through which the child talks to the parent
directly. A dead child stays a zombie until the parent asks to reap it, so no other process can get its pid before the
parent's last signal.
Protocol: `F` with a socket -> pid; `R` -> exit status, CPU seconds, peak memory of the oldest child.
"""

import _socket  # `socket` itself would cost every fork the mappings of three more libraries
import functools
import gc
import os
import struct
import sys

REPLY = struct.Struct("!cIidQ")  # kind (P or E), pid, exit status, CPU seconds, peak memory
PRELOADED = [
    "collections.abc",
    "contextlib",
    "copy",
    "functools",
    "itertools",
    "math",
    "operator",
    "re",
    "string",
    "typing",
]
"""The modules that many programs import; no others, since each module costs every fork its pages and mappings."""
PRELOADED_STRICT = [
    "array",
    "ast",
    "base64",
    "bisect",
    "calendar",
    "cmath",
    "concurrent.futures.thread",
    "csv",
    "dataclasses",
    "datetime",
    "decimal",
    "difflib",
    "encodings.idna",
    "encodings.latin_1",
    "encodings.utf_16",
    "fractions",
    "hashlib",
    "heapq",
    "html",
    "inspect",
    "json",
    "numbers",
    "pprint",
    "queue",
    "random",
    "secrets",
    "socket",
    "statistics",
    "textwrap",
    "threading",
    "traceback",
    "unicodedata",
    "uuid",
    "zlib",
    "_strptime",
]
"""Further modules for strict mode, which opens no file once a program runs: modules that others load late."""


def main():
    """Run the server with the arguments: control descriptor, layers, hash seed, strict (0 or 1), and three limits.

    The limits are memory in bytes, open files, and the bytes of an output.
    """
    control = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, 0, fileno=int(sys.argv[1]))
    layers = tuple(name for name in sys.argv[2].split(",") if name)
    seed, strict, memory_bytes, open_files, output_bytes = (int(argument) for argument in sys.argv[3:8])
    sys.set_int_max_str_digits(0)  # an answer may have many digits; the size of its text is limited
    sys.argv, sys.orig_argv = [""], [sys.executable]  # as a program that is read from standard input has them
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    os.register_at_fork = lambda **hooks: None  # hooks of `random` and `threading` would only cost time
    import harness
    import lockdown

    os.nice(10)
    lockdown.hide_host_name()
    for name in PRELOADED + (PRELOADED_STRICT if strict else []):
        __import__(name)

    sys.path.pop(0)
    os.chdir("/")
    try:
        send = functools.partial(_send_listener, control)
        child_filter = lockdown.lock_server(layers, memory_bytes, open_files, output_bytes, send)
    except OSError as error:
        control.sendall(b"E" + str(error).encode()[:200])
        return
    harness.prepare(seed)
    for name in ("harness", "lockdown", "canonical", "__main__"):
        sys.modules.pop(name)
    gc.collect()
    gc.freeze()
    filler = _fill_holes()
    control.sendall(b"K")
    _serve(control, child_filter, harness, lockdown, lockdown.lock_paths if strict else None)
    del filler


def _send_listener(control, listener):
    rights = (_socket.SOL_SOCKET, _socket.SCM_RIGHTS, struct.pack("i", listener))
    control.sendmsg([b"L"], [rights])


def _fill_holes():
    """Fill the free places of the heap, so that children allocate on new pages and copy fewer of the server's.

    How many objects of each size there are is drawn by lot: so the addresses of a program's objects, and with them the
    order of a set of objects, differ between the two runs that are compared.
    """
    header, lots = b"".__sizeof__(), os.urandom(33)
    smallest = [[object() for _ in range(lots[0] % 64)], [index + 0.5 for index in range(lots[1] % 64)]]
    return smallest, [bytes(16 * size - header) for size in range(3, 33) for _ in range(50 + lots[size] % 64)]


def _serve(control, child_filter, harness, lockdown, lock_paths):
    own_pid, children = os.getpid(), []
    while True:
        message, descriptors = harness.receive_descriptors(control, 1)
        if message == b"F":
            child = os.fork()
            if child == 0:
                _run_child(control, descriptors[0], own_pid, child_filter, harness, lockdown, lock_paths)
            os.close(descriptors[0])
            children.append(child)
            control.sendall(REPLY.pack(b"P", child, 0, 0.0, 0))
        elif message:
            _, status, usage = os.wait4(children.pop(0), 0)
            peak = usage.ru_maxrss * (1024 if sys.platform == "linux" else 1)
            control.sendall(REPLY.pack(b"E", 0, status, usage.ru_utime + usage.ru_stime, peak))
        else:
            for child in children:
                os.kill(child, 9)
                os.waitpid(child, 0)
            os._exit(0)


def _run_child(control, descriptor, parent, child_filter, harness, lockdown, lock_paths):
    """Run one program. A script raises SystemExit at its end, and the interpreter ends as Python ends."""
    try:
        os.close(control.detach())
        lockdown.lock_child(parent, child_filter)
        harness.serve(descriptor, lockdown.limit_cpu, lock_paths)
    except SystemExit:
        raise
    except BaseException:
        os._exit(harness.OWN_FAILURE)
    os._exit(0)


if __name__ == "__main__":
    main()
