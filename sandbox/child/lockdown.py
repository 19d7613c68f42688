"""Child side: install the kernel layers of the sandbox (Linux): capabilities, Landlock, seccomp, resource limits.

A fork server calls `lock_server` once, and every child inherits it; every child then calls `lock_child` as well.
Covered: files (read the standard library only, write nothing), network (no socket of any family), processes (no
fork, no exec, signals to itself only), rarely used system calls (only those of an allow-list are possible).
Not covered: time and memory of the whole machine (the parent's deadlines and RLIMIT_AS do that), side channels.
Source of the numbers: the kernel's unistd tables and include/uapi/linux/{landlock,seccomp,capability}.h.
"""

import ctypes
import os
import resource
import struct
import sys

_libc = ctypes.CDLL(None, use_errno=True)
_prctl = getattr(_libc, "prctl", None)
_ARCHES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}

# name: (x86-64, aarch64); -1 if the architecture has no such call
_ALLOWED = {
    "read": (0, 63), "write": (1, 64), "close": (3, 57), "fstat": (5, 80), "lseek": (8, 62), "mmap": (9, 222),
    "mprotect": (10, 226), "munmap": (11, 215), "brk": (12, 214), "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135), "rt_sigreturn": (15, 139), "pread64": (17, 67), "pwrite64": (18, 68),
    "readv": (19, 65), "writev": (20, 66), "access": (21, -1), "pipe": (22, -1), "select": (23, -1),
    "sched_yield": (24, 124), "mremap": (25, 216), "msync": (26, 227),
    "dup": (32, 23), "dup2": (33, -1), "pause": (34, -1), "nanosleep": (35, 101), "getitimer": (36, 102),
    "alarm": (37, -1), "setitimer": (38, 103), "getpid": (39, 172),
    "getsockname": (51, 204), "recvfrom": (45, 207),
    "recvmsg": (47, 212), "shutdown": (48, 210), "clone": (56, 220),
    "exit": (60, 93), "wait4": (61, 260), "kill": (62, 129),
    "fsync": (74, 82), "getdents": (78, -1), "getcwd": (79, 17),
    "gettimeofday": (96, 169), "getrlimit": (97, 163), "getrusage": (98, 165), "times": (100, 153),
    "getuid": (102, 174), "getgid": (104, 176), "geteuid": (107, 175), "getegid": (108, 177),
    "getppid": (110, 173), "getpgrp": (111, -1),
    "sigaltstack": (131, 132), "arch_prctl": (158, -1),
    "gettid": (186, 178), "time": (201, -1),
    "epoll_create": (213, -1), "getdents64": (217, 61),
    "set_tid_address": (218, 96),
    "exit_group": (231, 94), "epoll_wait": (232, -1), "epoll_ctl": (233, 21),
    "tgkill": (234, 131), "openat": (257, 56), "open": (2, -1), "stat": (4, -1), "lstat": (6, -1), "poll": (7, -1),
    "newfstatat": (262, 79), "faccessat": (269, 48), "faccessat2": (439, 439),
    "pselect6": (270, 72), "ppoll": (271, 73), "set_robust_list": (273, 99), "epoll_pwait": (281, 22),
    "timerfd_create": (283, 85), "timerfd_settime": (286, 86), "eventfd2": (290, 19), "epoll_create1": (291, 20),
    "dup3": (292, 24), "pipe2": (293, 59), "getrandom": (318, 278), "membarrier": (324, 283), "statx": (332, 291),
    "rseq": (334, 293), "close_range": (436, 436), "getcpu": (309, 168), "umask": (95, 166),
}  # fmt: skip
_ANSWER_ZERO = {"chmod": (90, -1), "fchmod": (91, 52), "fchmodat": (268, 53), "utimensat": (280, 88)}
_CLONE3, _CLONE, _FCNTL, _IOCTL, _PRLIMIT = (435, 435), (56, 220), (72, 25), (16, 29), (302, 261)
_FCNTL_COMMANDS = (0, 1, 2, 3, 4, 1030)  # DUPFD, GETFD, SETFD, GETFL, SETFL, DUPFD_CLOEXEC
_IOCTL_COMMANDS = (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)  # TCGETS, GWINSZ, FIONREAD, FIONBIO, FIO(N)CLEX
_SOCKETPAIR, _SENDTO, _GETSOCKOPT = (53, 199), (44, 206), (55, 209)
_AF_UNIX, _SOCK_STREAM, _SOCK_FLAGS = 1, 1, 0x80800  # SOCK_CLOEXEC and SOCK_NONBLOCK
_SOL_SOCKET, _SOCKET_OPTIONS = 1, (2, 3, 4, 7, 8, 9, 30, 38, 39)  # nothing that names the process at the other end
_MSG_DONTWAIT, _MSG_NOSIGNAL = 0x40, 0x4000
_MADVISE, _ADVICE = (28, 233), (0, 1, 2, 3, 4, 8, 14, 15)  # nothing that changes what other processes find in memory
_FUTEX, _FUTEX_PRIVATE, _FUTEX_WAIT, _FUTEX_WAIT_BITSET = (202, 98), 128, 0, 9
_OF_ITSELF = {"getpgid": (121, 155), "getsid": (124, 156), "sched_getaffinity": (204, 123)}
"""Calls that name a process in their first argument: only 0, the caller, is answered."""
_CLOCKS = {"clock_gettime": (228, 113), "clock_getres": (229, 114), "clock_nanosleep": (230, 115)}
"""Calls that name a clock in their first argument; a negative number is the CPU clock of any process."""
_PATH_CALLS = {
    "open": (2, -1), "stat": (4, -1), "lstat": (6, -1), "access": (21, -1), "openat": (257, 56),
    "newfstatat": (262, 79), "faccessat": (269, 48), "faccessat2": (439, 439), "statx": (332, 291),
    "getcwd": (79, 17), "getdents": (78, -1), "getdents64": (217, 61),
}  # fmt: skip
"""Every allowed call that takes a path or lists an opened folder; strict mode denies them."""
_PRCTL, _PRCTL_OPTIONS = (
    (157, 167),
    (3, 15, 16, 22),
)  # GET_DUMPABLE, SET_NAME, GET_NAME, SET_SECCOMP (filters can only become stricter)
_KILL, _TGKILL = (62, 129), (234, 131)

_READ_FILE, _WRITE_FILE, _READ_FOLDER = 4, 2, 8
_PACKAGE_FOLDERS = ("site-packages", "dist-packages")

_ALLOW, _ERRNO, _KILL_PROCESS, _ASK_PARENT = 0x7FFF0000, 0x00050000, 0x80000000, 0x7FC00000
_SECCOMP = (317, 277)
_EPERM, _ENOSYS = 1, 38
_CLONE_THREAD = 0x00010000


def _statement(code, k, jt=0, jf=0):
    return struct.pack("HBBI", code, jt, jf, k & 0xFFFFFFFF)


def _load(offset):
    return _statement(0x20, offset)  # BPF_LD | BPF_W | BPF_ABS of struct seccomp_data


def _argument(n, high=False):
    return _load(16 + 8 * n + 4 * high)  # the low word, or the high one


def _return(value):
    return _statement(0x06, value)


def _equal(k, jt, jf):
    return _statement(0x15, k, jt, jf)


def _machine():
    machine = os.uname().machine
    if machine not in _ARCHES:
        raise OSError(f"the sandbox has no table of system calls for the processor type {machine}")
    return machine, (0 if machine == "x86_64" else 1)


def _prologue(machine):
    program = [_load(4), _equal(_ARCHES[machine], 1, 0), _return(_KILL_PROCESS), _load(0)]
    if machine == "x86_64":
        program += [_statement(0x35, 0x40000000, 0, 1), _return(_KILL_PROCESS)]  # x32
    return program


def _rule(number, action):
    return [_equal(number, 0, 1), _return(action)] if number >= 0 else []


def _for_call(number, body):
    return [_equal(number, 0, len(body)), *body]


def _one_of(argument, values, mask=None, high=False):
    """Continue if the argument, without the bits of `mask`, is one of `values`; else return EPERM."""
    masked = [] if mask is None else [_statement(0x54, ~mask)]  # BPF_ALU | BPF_AND
    jumps = [_equal(value, len(values) - i, 0) for i, value in enumerate(values)]
    return [_argument(argument, high), *masked, *jumps, _return(_ERRNO | _EPERM)]


def _allow_if(number, *checks):
    """Allow the call if every check continues; other calls fall through."""
    return _for_call(number, [*(statement for check in checks for statement in check), _return(_ALLOW)])


def _not_negative(argument):
    """Continue if the low word of the argument is not negative; else return EPERM."""
    return [_argument(argument), _statement(0x35, 0x80000000, 0, 1), _return(_ERRNO | _EPERM)]


_FUTEX_RULE = [
    _argument(1),
    _statement(0x45, _FUTEX_PRIVATE, 0, 1),  # BPF_JSET: only within this process
    _return(_ALLOW),
    _statement(0x54, 0x7F),
    _equal(_FUTEX_WAIT, 2, 0),
    _equal(_FUTEX_WAIT_BITSET, 1, 0),
    _return(_ERRNO | _EPERM),  # a wake that is not private would reach programs that map the same file
    _return(_ALLOW),
]


def _server_filter():
    machine, column = _machine()
    program = _prologue(machine)
    for numbers in _ALLOWED.values():
        program += _rule(numbers[column], _ALLOW)
    for numbers in _ANSWER_ZERO.values():
        program += _rule(numbers[column], _ERRNO)
    program += _rule(_CLONE3[column], _ERRNO | _ENOSYS)
    program += _allow_if(_FCNTL[column], _one_of(1, _FCNTL_COMMANDS))
    program += _allow_if(_IOCTL[column], _one_of(1, _IOCTL_COMMANDS))
    program += _allow_if(_PRLIMIT[column], _one_of(0, (0,)))
    # a datagram, or a message with an address, would reach any UNIX socket that has a path
    program += _allow_if(_SOCKETPAIR[column], _one_of(0, (_AF_UNIX,)), _one_of(1, (_SOCK_STREAM,), _SOCK_FLAGS))
    program += _allow_if(
        _SENDTO[column], _one_of(4, (0,)), _one_of(4, (0,), high=True), _one_of(3, (0,), _MSG_DONTWAIT | _MSG_NOSIGNAL)
    )
    program += _allow_if(_MADVISE[column], _one_of(2, _ADVICE))
    program += _for_call(_FUTEX[column], _FUTEX_RULE)
    program += _allow_if(_GETSOCKOPT[column], _one_of(1, (_SOL_SOCKET,)), _one_of(2, _SOCKET_OPTIONS))
    for numbers in _OF_ITSELF.values():
        program += _allow_if(numbers[column], _one_of(0, (0,)))
    for numbers in _CLOCKS.values():
        program += _allow_if(numbers[column], _not_negative(0))
    # PR_SET_PDEATHSIG only with SIGKILL, so that a program cannot outlive its fork server
    by_signal = [*_one_of(1, (9,)), _return(_ALLOW)]
    by_option = [*_one_of(0, _PRCTL_OPTIONS), _return(_ALLOW)]
    program += _for_call(_PRCTL[column], [_argument(0), _equal(1, 0, len(by_signal)), *by_signal, *by_option])
    program += [_return(_ERRNO | _EPERM)]
    return b"".join(program)


def _child_filter(pid):
    """Deny what a fork server may do but its children may not: new processes, and signals to other processes."""
    _, column = _machine()
    program = [_load(0)]  # foreign architectures are killed by the server's filter
    threads = [_argument(0), _statement(0x45, _CLONE_THREAD, 0, 1), _return(_ALLOW), _return(_ERRNO | _EPERM)]
    program += _for_call(_CLONE[column], threads)
    program += _allow_if(_KILL[column], _one_of(0, (pid,)))
    program += _allow_if(_TGKILL[column], _one_of(0, (pid,)))
    return b"".join([*program, _return(_ALLOW)])


def _no_paths_filter():
    _, column = _machine()
    program = [_load(0)]
    for numbers in _PATH_CALLS.values():
        program += _rule(numbers[column], _ERRNO | _EPERM)
    return b"".join([*program, _return(_ALLOW)])


class _SockFprog(ctypes.Structure):
    _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.c_void_p)]


def _filter_program(kept):
    """Return the reference to a filter that the kernel takes; the buffer `kept` must live as long as it."""
    return ctypes.byref(_SockFprog(len(kept) // 8, ctypes.addressof(kept)))


def _install_filter(code):
    kept = ctypes.create_string_buffer(code, len(code))
    _install(_filter_program(kept))


def _install(program):
    if _prctl(22, 2, program, 0, 0) != 0:  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER
        raise OSError(ctypes.get_errno(), "the kernel did not accept the seccomp filter")


class _ChildFilter:
    """The filter for every child, built in the fork server; a child only writes its pid into it."""

    def __init__(self):
        code = _child_filter(_PID_PLACEHOLDER)
        self._code = ctypes.create_string_buffer(code, len(code))
        placeholder = struct.pack("I", _PID_PLACEHOLDER)
        self._pid_offsets = [i for i in range(4, len(code), 8) if code[i : i + 4] == placeholder]
        self._program = _filter_program(self._code)

    def install(self):
        """Write this process's pid into the filter and install it. Raises OSError."""
        for offset in self._pid_offsets:
            struct.pack_into("I", self._code, offset, os.getpid())
        _install(self._program)


def landlock_abi():
    """Return the version of Landlock's interface that this kernel offers, or 0 if it has no Landlock."""
    version = _libc.syscall(444, None, ctypes.c_size_t(0), ctypes.c_uint(1))
    return max(0, version)


def _restrict_files(read_paths):
    abi = landlock_abi()
    if abi < 1:
        raise OSError("this kernel has no Landlock")
    handled = (1 << 13) - 1
    handled |= (1 << 13 if abi >= 2 else 0) | (1 << 14 if abi >= 3 else 0) | (1 << 15 if abi >= 5 else 0)
    attribute = struct.pack("QQQ", handled, 3 if abi >= 4 else 0, 3 if abi >= 6 else 0)
    size = 24 if abi >= 6 else 16 if abi >= 4 else 8
    ruleset = _libc.syscall(444, attribute, ctypes.c_size_t(size), ctypes.c_uint(0))
    if ruleset < 0:
        raise OSError(ctypes.get_errno(), "the kernel did not create a Landlock ruleset")
    for path in read_paths:
        _grant(ruleset, path, _READ_FILE | _READ_FOLDER if os.path.isdir(path) else _READ_FILE)
    _grant(ruleset, "/dev/null", _READ_FILE | _WRITE_FILE)
    if _libc.syscall(446, ruleset, 0) != 0:
        raise OSError(ctypes.get_errno(), "the kernel did not apply the Landlock rules")
    os.close(ruleset)


def _grant(ruleset, path, access):
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    rule = struct.pack("=Qi", access, descriptor)
    if _libc.syscall(445, ruleset, 1, rule, 0) != 0:
        raise OSError(ctypes.get_errno(), "the kernel did not accept a Landlock rule")
    os.close(descriptor)


def readable_paths(import_path, library_folders):
    """Return what a program may read: the standard library and the shared libraries that its modules load.

    Landlock cannot take away a part of a folder that it grants, and installed packages may hold the answers of
    benchmarks. So the entries of `import_path` are granted one by one, without `site-packages` and `dist-packages`, and
    of `library_folders` only the shared libraries that lie directly in them.
    """
    found = []
    for folder in import_path:
        if not os.path.isdir(folder):
            found.append(folder)
            continue
        for entry in os.scandir(folder):
            inner = [os.path.join(entry.path, name) for name in _PACKAGE_FOLDERS]
            if entry.name not in _PACKAGE_FOLDERS and not any(os.path.isdir(path) for path in inner):
                found.append(entry.path)
    for folder in library_folders:
        if os.path.isdir(folder):
            found += [entry.path for entry in os.scandir(folder) if ".so" in entry.name and not entry.is_dir()]
    return [*found, "/usr/share/zoneinfo", "/dev/urandom"]


def _library_folders():
    """Return the folders of the loader: the usual ones, and those that this process has libraries from."""
    folders = {"/lib", "/usr/lib", "/lib64", "/usr/lib64", "/usr/local/lib", os.path.join(sys.base_prefix, "lib")}
    with open("/proc/self/maps") as maps:
        folders |= {os.path.dirname(line[73:].strip()) for line in maps if ".so" in line}
    return {os.path.realpath(folder) for folder in folders if folder}


def _pin_import_path():
    """Let the import system keep the list of files that it has of each folder: it may not list them any more."""
    for folder in sys.path:
        finder = sys.path_importer_cache.get(folder)
        if hasattr(finder, "_fill_cache"):
            finder._fill_cache()
            finder._fill_cache = lambda: None


def _drop_capabilities():
    """Give up every capability of root; the user id stays root. Raises OSError."""
    for capability in range(64):
        if _prctl(24, capability, 0, 0, 0) != 0:  # PR_CAPBSET_DROP
            break
    _prctl(28, 0x2F, 0, 0, 0)  # PR_SET_SECUREBITS: NOROOT, NO_SETUID_FIXUP, both locked, no ambient
    header = struct.pack("Ii", 0x20080522, 0)
    if _libc.capset(header, bytes(24)) != 0:
        raise OSError(ctypes.get_errno(), "the kernel did not drop the capabilities")


def hide_host_name():
    """Replace `os.uname` by an answer without names, for modules that ask at import (`platform`, `uuid`).

    The system call itself is denied.
    """
    real = os.uname()
    nameless = os.uname_result((real.sysname, "localhost", "", "", real.machine))
    os.uname = sys.modules["posix"].uname = lambda: nameless


def _thread_filter():
    """Ask the parent about every new thread; it counts them and refuses one too many."""
    _, column = _machine()
    ask = [_argument(0), _statement(0x45, _CLONE_THREAD, 0, 1), _return(_ASK_PARENT), _return(_ALLOW)]
    return b"".join([_load(0), *_for_call(_CLONE[column], ask), _return(_ALLOW)])


def install_thread_filter():
    """Install the filter that asks about threads, and return the descriptor that answers; None without it."""
    _, column = _machine()
    code = _thread_filter()
    kept = ctypes.create_string_buffer(code, len(code))
    listener = _libc.syscall(_SECCOMP[column], 1, 8, _filter_program(kept))  # SET_MODE_FILTER, NEW_LISTENER
    return listener if listener >= 0 else None


def lock_server(layers, memory_bytes, open_files, output_bytes, send_listener):
    """Lock down the fork server, once; `layers` names what to install: capabilities, landlock, seccomp.

    `send_listener` sends the parent the descriptor on which it decides about new threads.

    Returns the filter that every child installs as well, or None without seccomp.
    Raises OSError if the kernel does not accept a layer.
    """
    for limit in (resource.RLIMIT_CORE, resource.RLIMIT_MEMLOCK):
        resource.setrlimit(limit, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (output_bytes + 1, output_bytes + 1))
    resource.setrlimit(resource.RLIMIT_NOFILE, (open_files, open_files))
    if sys.platform != "linux":
        resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, memory_bytes))
        return None
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_MSGQUEUE, (0, 0))
    resource.setrlimit(resource.RLIMIT_SIGPENDING, (64, 64))
    _prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS
    _prctl(4, 0, 0, 0, 0)  # PR_SET_DUMPABLE, inherited by every child
    if "capabilities" in layers and os.geteuid() == 0:
        _drop_capabilities()
    if "landlock" in layers:
        _pin_import_path()
        _restrict_files(readable_paths(sys.path, _library_folders()))
    if "seccomp" not in layers:
        return None
    listener = install_thread_filter()
    if listener is not None:
        send_listener(listener)
        os.close(listener)
    for_children = _ChildFilter()
    _install_filter(_server_filter())
    return for_children


_PID_PLACEHOLDER = 0x5A5A5A5A


def _open_standard_descriptors():
    """Open descriptors 0 to 2 for this child alone: flags such as O_NONBLOCK would be shared with its siblings."""
    null = os.open("/dev/null", os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    os.close(null)


def lock_child(parent, child_filter):
    """Lock down a child before it reads anything of a program; the limits of its fork server are inherited.

    Raises OSError if the kernel does not accept the filter.
    """
    if sys.platform == "linux":
        _prctl(1, 9, 0, 0, 0)  # PR_SET_PDEATHSIG, SIGKILL
        if os.getppid() != parent:
            os._exit(1)
    else:
        resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))
    _open_standard_descriptors()
    if child_filter:
        child_filter.install()


def limit_cpu(seconds):
    """Limit the CPU time of a child; a fork server would reach such a limit after some ten thousand forks."""
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))


def lock_paths():
    """Deny every further call that takes a path; files that are open stay readable (strict mode). Raises OSError."""
    _install_filter(_no_paths_filter())
