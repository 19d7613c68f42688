"""Define the self-test of the sandbox: a program that tries forbidden actions and returns those that succeeded."""

from __future__ import annotations

from sandbox.types import Program

_SOURCE = """
import os, socket, ctypes, signal

def attempts():
    parent = os.getppid()
    libc = ctypes.CDLL(None)
    yield "read /etc/passwd", lambda: open("/etc/passwd").read(1)
    yield "list the root folder", lambda: os.listdir("/")
    yield "write a file", lambda: open("/tmp/conself-self-test", "w")
    yield "open a socket", lambda: socket.socket()
    yield "open a datagram socket", lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    yield "open a unix socket", lambda: socket.socket(socket.AF_UNIX)
    yield "fork", lambda: os.fork() or os._exit(0)
    yield "start another program", lambda: os.execv("/bin/true", ["true"])
    yield "signal the parent process", lambda: os.kill(parent, 0)
    yield "trace the parent process", lambda: call(libc.ptrace, 16, parent, 0, 0)
    yield "leave the namespace", lambda: call(libc.unshare, 0x10000000)
    yield "create shared memory", lambda: call(libc.shmget, 0, 4096, 0o1600)
    yield "create an in-memory file", lambda: os.memfd_create("x")

def call(function, *arguments):
    if function(*arguments) == -1:
        raise OSError

def breaches():
    found = []
    for name, attempt in attempts():
        try:
            attempt()
        except (OSError, AttributeError):
            continue
        found.append(name)
    return found
"""

SELF_TEST = Program("self-test", _SOURCE, "function", "breaches", [()])
