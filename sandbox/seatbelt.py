"""macOS: the profile under which a fork server is started by `sandbox-exec`; children inherit it.

Written from the profile language as other tools use it, and never run: nobody who wrote this had a Mac. The probe at
the start decides; where it fails, the sandbox refuses. Memory is the weak side there (RLIMIT_DATA only).
"""

from __future__ import annotations

import sys
import sysconfig
from pathlib import Path

_SANDBOX_EXEC = "/usr/bin/sandbox-exec"


def _quoted(path: str) -> str:
    return '"' + path.replace("\\", "\\\\").replace('"', '\\"') + '"'


def seatbelt_profile(readable: list[str], interpreter: str) -> str:
    """All denied but: reading `readable`, starting the interpreter once, forking (the server needs it), signals to itself."""
    reads = " ".join(f"(subpath {_quoted(path)})" for path in readable)
    return "\n".join(
        [
            "(version 1)",
            "(deny default)",
            f'(allow file-read* {reads} (literal "/") (literal "/dev/null") (literal "/dev/urandom"))',
            '(allow file-write-data (literal "/dev/null"))',
            f"(allow process-exec (literal {_quoted(interpreter)}))",
            "(allow process-fork)",
            "(allow signal (target self) (target children))",
            "(allow sysctl-read)",
            "(deny network*)",
            "(deny mach-lookup)",
        ]
    )


def seatbelt_prefix() -> list[str]:
    """What stands before the interpreter's command line."""
    interpreter = str(Path(sys.executable).resolve())
    paths = sysconfig.get_paths()
    readable = {
        paths["stdlib"],
        paths["platstdlib"],
        sys.base_prefix,
        str(Path(interpreter).parent),
        str(Path(__file__).parent),
    }
    readable |= {"/usr/lib", "/System/Library", "/System/Volumes/Preboot/Cryptexes", "/private/var/db/dyld"}
    return [_SANDBOX_EXEC, "-p", seatbelt_profile(sorted(readable), interpreter)]
