"""Define the attacks as data: what each tries, and the layer or limit that stops it.

`f(path, port, pid)` gets a file of the user with a secret, a listening TCP port, and a process of the user. It returns
'through' if it succeeds. A control runs the same text with exactly that layer off, or that limit raised.
"""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Attack:
    """One attack on the computer."""

    name: str
    off: tuple[str, ...]
    """Layers to switch off for the control; more than one if each of them alone stops the attack."""
    body: str
    """The body of `f`; a raised exception is a failed attack."""


_RAW = {"x86_64": (41, 56, "57", 434, 425, 29, 272), "aarch64": (198, 220, "220, 17, 0, 0, 0, 0", 434, 425, 194, 97)}
_SOCKET, _CLONE, _FORK, _PIDFD, _URING, _SHMGET, _UNSHARE = _RAW.get(os.uname().machine, _RAW["x86_64"])
_CALL = "import ctypes; libc = ctypes.CDLL(None, use_errno=True)\nassert libc.syscall({}) >= 0\nreturn 'through'"

FILES = [
    Attack("read a secret", ("landlock",), "return 'through' if 'secret' in open(path).read() else None"),
    Attack("read a secret by descriptor", ("landlock",), "os.read(os.open(path, os.O_RDONLY), 9)\nreturn 'through'"),
    Attack(
        "read it by a raw call",
        ("landlock",),
        "import ctypes\nassert ctypes.CDLL(None).open(path.encode(), 0) >= 0\nreturn 'through'",
    ),
    Attack(
        "map a secret",
        ("landlock",),
        "import mmap\nmmap.mmap(os.open(path, 0), 0, prot=mmap.PROT_READ)[:1]\nreturn 'through'",
    ),
    Attack("list a folder", ("landlock",), "os.listdir(os.path.dirname(path))\nreturn 'through'"),
    Attack("walk the root", ("landlock",), "return 'through' if os.listdir('/') else None"),
    Attack("read the password file", ("landlock",), "open('/etc/passwd').read(1)\nreturn 'through'"),
    Attack("read /proc", ("landlock",), "open('/proc/1/status').read(4)\nreturn 'through'"),
    Attack("read its own /proc", ("landlock",), "open('/proc/self/limits').read(1)\nreturn 'through'"),
    Attack("read the machine's processor", ("landlock",), "open('/proc/cpuinfo').read(1)\nreturn 'through'"),
    Attack("read the network's state", ("landlock",), "open('/proc/net/tcp').read(1)\nreturn 'through'"),
    Attack("read /sys", ("landlock",), "os.listdir('/sys')\nreturn 'through'"),
    Attack("make a folder", ("landlock", "seccomp"), "os.mkdir(path + '.d')\nreturn 'through'"),
    Attack("write a new file", ("landlock",), "open(path + '.new', 'w').close()\nreturn 'through'"),
    Attack("empty a file", ("landlock",), "open(path + '.victim', 'w').close()\nreturn 'through'"),
    Attack("append to a file", ("landlock",), "open(path, 'a').close()\nreturn 'through'"),
    Attack(
        "write shared memory as a file", ("landlock",), "open('/dev/shm/conself-attack', 'w').close()\nreturn 'through'"
    ),
    Attack("leave a message in /tmp", ("landlock",), "open('/tmp/conself-attack', 'w').close()\nreturn 'through'"),
    Attack("make a symbolic link", ("landlock", "seccomp"), "os.symlink(path, path + '.link')\nreturn 'through'"),
    Attack("read through a symbolic link", ("landlock",), "open(path + '.given-link').read()\nreturn 'through'"),
    Attack("make a hard link", ("landlock", "seccomp"), "os.link(path, path + '.hard')\nreturn 'through'"),
    Attack("rename a file", ("landlock", "seccomp"), "os.rename(path + '.victim', path + '.moved')\nreturn 'through'"),
    Attack("delete a file", ("landlock", "seccomp"), "os.unlink(path + '.victim')\nreturn 'through'"),
    Attack("cut a file by its path", ("landlock", "seccomp"), "os.truncate(path + '.victim', 0)\nreturn 'through'"),
    Attack("make a pipe with a name", ("landlock", "seccomp"), "os.mkfifo(path + '.fifo')\nreturn 'through'"),
    Attack("open the terminal", ("landlock",), "import glob\nos.open('/dev/zero', os.O_RDONLY)\nreturn 'through'"),
    Attack(
        "change permissions",
        ("seccomp",),
        "os.chmod(path, 0o777)\nassert os.stat(path).st_mode & 0o777 == 0o777\nreturn 'through'",
    ),
    Attack(
        "make a file setuid",
        ("seccomp",),
        "os.chmod(path, 0o4755)\nassert os.stat(path).st_mode & 0o4000\nreturn 'through'",
    ),
    Attack(
        "change times", ("seccomp",), "os.utime(path, (1, 1))\nassert os.stat(path).st_mtime == 1\nreturn 'through'"
    ),
    Attack("change the owner", ("seccomp",), "os.chown(path, os.getuid(), os.getgid())\nreturn 'through'"),
    Attack("set an attribute", ("seccomp",), "os.setxattr(path, 'user.conself', b'1')\nreturn 'through'"),
]
NETWORK = [
    Attack("connect by TCP", ("landlock", "seccomp"), "import socket\nsocket.create_connection(('127.0.0.1', port), 2)\nreturn 'through'"),
    Attack("listen", ("landlock", "seccomp"), "import socket\ns = socket.socket()\ns.bind(('127.0.0.1', 0))\ns.listen()\nreturn 'through'"),
    Attack("make a TCP socket", ("seccomp",), "import socket\nsocket.socket()\nreturn 'through'"),
    Attack("send by UDP", ("seccomp",), "import socket\nsocket.socket(2, 2).sendto(b'x', ('127.0.0.1', port))\nreturn 'through'"),
    Attack("ask a name server", ("seccomp",), "import socket\nsocket.socket(2, 2).sendto(b'x', ('127.0.0.53', 53))\nreturn 'through'"),
    Attack("open a unix socket", ("seccomp",), "import socket\nsocket.socket(socket.AF_UNIX)\nreturn 'through'"),
    Attack("listen on an abstract socket", ("seccomp",), "import socket\nsocket.socket(socket.AF_UNIX).bind('\\0conself')\nreturn 'through'"),
    Attack("open a netlink socket", ("seccomp",), "import socket\nsocket.socket(16, 3, 0)\nreturn 'through'"),
    Attack("make a socket by a raw call", ("seccomp",), _CALL.format(f"{_SOCKET}, 2, 1, 0")),
    Attack("use io_uring", ("seccomp",), _CALL.format(f"{_URING}, 4, bytes(120)")),
    Attack("make a pair of datagram sockets", ("seccomp",), "import socket\nsocket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)\nreturn 'through'"),
    Attack("make a pair of packet sockets", ("seccomp",), "import socket\nsocket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)\nreturn 'through'"),
    Attack("make a pair of datagram sockets that do not block", ("seccomp",), "import socket\nsocket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM | 0x80800)\nreturn 'through'"),
    Attack("send a descriptor along", ("seccomp",), "import socket\na, b = socket.socketpair()\nsocket.send_fds(a, [b'x'], [0])\nreturn 'through'"),
    Attack("learn who is at the other end", ("seccomp",), "import socket\na, b = socket.socketpair()\na.getsockopt(socket.SOL_SOCKET, 17, 12)\nreturn 'through'"),
    Attack("take a descriptor of the process at the other end", ("seccomp",), "import socket\na, b = socket.socketpair()\na.getsockopt(socket.SOL_SOCKET, 77, 4)\nreturn 'through'"),
    Attack("fetch a page", ("landlock", "seccomp"), "import urllib.request as u, urllib.error\ntry: u.urlopen(f'http://127.0.0.1:{port}', timeout=0.3)\nexcept urllib.error.URLError as e: assert not isinstance(e.reason, PermissionError)\nexcept TimeoutError: pass\nreturn 'through'"),
]  # fmt: skip
PROCESSES = [
    Attack("fork", ("seccomp",), "if os.fork() == 0: os._exit(0)\nreturn 'through'"),
    Attack("fork again and again", ("seccomp",), "for _ in range(20):\n    if os.fork() == 0: os._exit(0)\nreturn 'through'"),
    Attack("leave a daemon", ("seccomp",), "if os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0: time.sleep(2)\n    os._exit(0)\nreturn 'through'"),
    Attack("fork by a raw call", ("seccomp",), f"import ctypes\npid = ctypes.CDLL(None).syscall({_FORK})\nif pid == 0: os._exit(0)\nassert pid > 0\nreturn 'through'"),
    Attack("clone by a raw call", ("seccomp",), f"import ctypes\npid = ctypes.CDLL(None).syscall({_CLONE}, 17, 0, 0, 0, 0)\nif pid == 0: os._exit(0)\nassert pid > 0\nreturn 'through'"),
    Attack("run a program", ("landlock", "seccomp"), "import subprocess\nassert subprocess.run(['/bin/true']).returncode == 0\nreturn 'through'"),
    Attack("spawn a program", ("landlock", "seccomp"), "os.waitpid(os.posix_spawn('/bin/true', ['true'], {}), 0)\nreturn 'through'"),
    Attack("use a pool of processes", ("seccomp",), "import multiprocessing as m\np = m.get_context('fork').Process(target=print)\np.start()\np.join()\nreturn 'through'"),
    Attack("signal the parent", ("seccomp",), "os.kill(os.getppid(), 0)\nreturn 'through'"),
    Attack("signal a process of the user", ("landlock", "seccomp"), "os.kill(pid, 0)\nreturn 'through'"),
    Attack("signal through a descriptor", ("seccomp",), "import signal\nsignal.pidfd_send_signal(os.pidfd_open(os.getppid()), 0)\nreturn 'through'"),
    Attack("open a process", ("seccomp",), _CALL.format(f"{_PIDFD}, os.getppid(), 0")),
    Attack("slow a process of the user down", ("seccomp",), "os.setpriority(os.PRIO_PROCESS, os.getpid(), 15)\nreturn 'through'"),
    Attack("ask for the limits of the parent", ("seccomp",), "import resource\nresource.prlimit(os.getppid(), resource.RLIMIT_CORE)\nreturn 'through'"),
    Attack("leave the session", ("seccomp",), "os.setsid()\nreturn 'through'"),
    Attack("take another namespace", ("capabilities", "seccomp"), _CALL.format(f"{_UNSHARE}, 0x10000000")),
]  # fmt: skip
MEMORY = [
    Attack("make a memory file", ("seccomp",), "os.memfd_create('x')\nreturn 'through'"),
    Attack("share memory (System V)", ("seccomp",), _CALL.format(f"{_SHMGET}, 0, 4096, 0o1600")),
    Attack("share memory by name", ("landlock",), "from _posixshmem import shm_open\nshm_open('/conself-attack', os.O_CREAT | os.O_RDWR, mode=0o600)\nreturn 'through'"),
    Attack("lock memory", ("capabilities", "seccomp"), "import ctypes\nassert ctypes.CDLL(None).mlock(ctypes.create_string_buffer(1 << 20), 1 << 20) == 0\nreturn 'through'"),
]  # fmt: skip
INFORMATION = [
    Attack("learn the host's name", ("seccomp",), "import socket\nassert socket.gethostname()\nreturn 'through'"),
    Attack("read where a symbolic link leads", ("seccomp",), "os.readlink(path + '.given-link')\nreturn 'through'"),
    Attack("learn how full the disk is", ("seccomp",), "os.statvfs(path)\nreturn 'through'"),
    Attack("learn how full the disk of an open file is", ("seccomp",), "os.fstatvfs(os.open(os.__file__, 0))\nreturn 'through'"),
    Attack("learn the process group of a process of the user", ("seccomp",), "os.getpgid(pid)\nreturn 'through'"),
    Attack("learn the session of a process of the user", ("seccomp",), "os.getsid(pid)\nreturn 'through'"),
    Attack("learn the processors of a process of the user", ("seccomp",), "os.sched_getaffinity(pid)\nreturn 'through'"),
    Attack("learn the CPU time of a process of the user", ("seccomp",), "time.clock_gettime((~pid << 3) | 2)\nreturn 'through'"),
    Attack("learn how much memory there is", ("seccomp",), "import ctypes\nassert ctypes.CDLL(None).sysinfo(ctypes.create_string_buffer(200)) == 0\nreturn 'through'"),
    Attack("keep a secret in the kernel's keys", ("seccomp",), _CALL.format("250, 0, -3, 1") if os.uname().machine == "x86_64" else _CALL.format("219, 0, -3, 1")),
]  # fmt: skip
BY_LAYER = {"files": FILES, "network": NETWORK, "processes": PROCESSES, "memory": MEMORY, "information": INFORMATION}

TIME = {
    "catching everything": "while time.monotonic() < end:\n    try:\n        while time.monotonic() < end: pass\n    except BaseException: pass",
    "overriding alarms": "import signal\nfor s in (signal.SIGALRM, signal.SIGTERM, signal.SIGINT, signal.SIGXCPU): signal.signal(s, signal.SIG_IGN)\nwhile time.monotonic() < end: pass",
    "blocking every signal": "import signal\nsignal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))\nwhile time.monotonic() < end: pass",
    "powers of big integers": "while time.monotonic() < end: 7 ** 300000",
    "text of big integers": "import sys\nsys.set_int_max_str_digits(0)\nn = 7 ** 30000\nwhile time.monotonic() < end: str(n)",
    "a regular expression": "import re\nwhile time.monotonic() < end: re.match('(a+)+$', 'a' * 20 + 'b')",
    "sleeping": "time.sleep(max(0, end - time.monotonic()))",
    "waiting for a lock": "import threading\nlock = threading.Lock()\nlock.acquire()\nlock.acquire(timeout=max(0, end - time.monotonic()))",
    "a storm of timers": "import signal\nsignal.signal(signal.SIGALRM, lambda *a: None)\nsignal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)\nwhile time.monotonic() < end: pass",
    "a thread that works on": "import threading\ndef g():\n    while time.monotonic() < end: pass\nt = threading.Thread(target=g)\nt.start()\nt.join()",
    "a destructor": "class A:\n    def __del__(self): time.sleep(max(0, end - time.monotonic()))\na = A()\ndel a",
}
"""Bodies that run until `end`."""

SPACE = {
    "one object": "x = bytearray(300 * 2**20)",
    "many objects": "x = [[i] for i in range(4_000_000)]",
    "a map of memory": "import mmap\nx = mmap.mmap(-1, 300 * 2**20)\nfor i in range(0, 300 * 2**20, 4096): x[i] = 1",
    "a shared map of memory": "import mmap\nx = mmap.mmap(-1, 300 * 2**20, mmap.MAP_SHARED)\nfor i in range(0, 300 * 2**20, 4096): x[i] = 1",
    "text": "x = 'ab' * (150 * 2**20)",
    "a big integer": "x = 1 << (2400 * 2**20)",
    "the C library": "import ctypes\nx = ctypes.CDLL(None)\nx.malloc.restype = ctypes.c_void_p\nassert x.malloc(300 * 2**20)",
}
"""Bodies that need about 300 MB."""

LIES = {
    "__eq__": "class A:\n    def __eq__(self, o): return True\ndef f(*a): return A()",
    "__repr__": "class A:\n    def __repr__(self): return '42'\n    def __eq__(self, o): return True\ndef f(*a): return A()",
    "__class__": "class A:\n    __class__ = property(lambda self: int)\n    def __eq__(self, o): return True\ndef f(*a): return A()",
    "a metaclass": "class M(type):\n    def __instancecheck__(c, o): return True\n    def __eq__(c, o): return True\n    __hash__ = type.__hash__\nclass A(metaclass=M):\n    def __eq__(self, o): return True\ndef f(*a): return A()",
    "a subclass of int": "class A(int):\n    def __eq__(self, o): return True\ndef f(*a): return A(1)",
    "a subclass of str": "class A(str):\n    def __eq__(self, o): return True\ndef f(*a): return A('x')",
    "a subclass of list": "class A(list):\n    def __eq__(self, o): return True\n    def __len__(self): return 0\ndef f(*a): return A([1])",
    "a subclass of float in a list": "class A(float):\n    def __eq__(self, o): return True\nclass L(list):\n    def __eq__(self, o): return True\ndef f(*a): return L([A(1)])",
    "__reduce__": "import os\nclass A:\n    def __reduce__(self): return (os.getcwd, ())\n    def __eq__(self, o): return True\ndef f(*a): return A()",
    "itself as a type": "class M(type):\n    def __eq__(c, o): return True\n    __hash__ = type.__hash__\nclass A(metaclass=M): pass\ndef f(*a): return A",
}
"""Programs that return a value which claims to equal everything."""
