"""Define the self-test of the sandbox: a program that tries forbidden actions and returns those that succeeded."""

from __future__ import annotations

import os
import site
import sys
import sysconfig

from sandbox.types import Program

_SOURCE = """
import os, socket, ctypes, signal

def attempts(folders):
    parent = os.getppid()
    libc = ctypes.CDLL(None)
    yield "read /etc/passwd", lambda: open("/etc/passwd").read(1)
    yield "list the root folder", lambda: os.listdir("/")
    yield "write a file", lambda: open("/tmp/conself-self-test", "w")
    yield "open a socket", lambda: socket.socket()
    yield "open a datagram socket", lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    yield "open a unix socket", lambda: socket.socket(socket.AF_UNIX)
    yield "make a pair of datagram sockets", lambda: socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    yield "send a message with an address", lambda: socket.socketpair()[0].sendmsg([b"x"], [], 0, "/run/x")
    yield "read a symbolic link", lambda: os.readlink("/proc/self")
    yield "ask for the session of the parent process", lambda: os.getsid(parent)
    for folder in folders:
        yield "list " + folder, lambda folder=folder: os.listdir(folder)
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

def breaches(folders):
    found = []
    for name, attempt in attempts(folders):
        try:
            attempt()
        except (OSError, AttributeError):
            continue
        found.append(name)
    return found
"""


def make_self_test() -> Program:
    """Return the self-test, which also tries the folders with installed packages: some hold answers of benchmarks."""
    own = {sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib"), sysconfig.get_config_var("DESTSHARED")}
    folders = {folder for folder in [*sys.path, *site.getsitepackages()] if os.path.isdir(folder)} - own
    return Program("self-test", _SOURCE, "function", "breaches", [(sorted(folders),)])
