"""Build the macOS profile under which `sandbox-exec` starts a fork server; its children inherit the profile.

The profile follows the language as other tools use it today (Chromium's, and those of command line agents), but it has
never been run: its authors had no Mac. The probe at the start decides: if it fails, the sandbox refuses to run. Memory
is limited only weakly there (RLIMIT_DATA).
"""

from __future__ import annotations

import sys
import sysconfig
from pathlib import Path

_SANDBOX_EXEC = "/usr/bin/sandbox-exec"


def _quoted(path: str) -> str:
    return '"' + path.replace("\\", "\\\\").replace('"', '\\"') + '"'


def seatbelt_profile(readable: list[str], interpreter: str) -> str:
    """Return the profile's text; it denies everything except the following.

    Allowed are: reading the paths in `readable` and loading libraries from there, looking at the folders above them,
    starting `interpreter`, forking (the server needs it), and signals to the process itself and its children.
    """
    reads = " ".join(f"(subpath {_quoted(path)})" for path in readable)
    above = sorted({str(folder) for path in readable for folder in Path(path).parents})
    folders = " ".join(f"(literal {_quoted(folder)})" for folder in above)
    return "\n".join(
        [
            "(version 1)",
            "(deny default)",
            f'(allow file-read* {reads} (literal "/") (literal "/dev/null") (literal "/dev/urandom"))',
            f"(allow file-read-metadata {folders})",  # Python resolves its own path, folder by folder
            f"(allow file-map-executable {reads})",
            '(deny file-read* (regex #"/(site|dist)-packages(/|$)"))',  # they may hold answers of benchmarks
            '(allow file-write-data (literal "/dev/null"))',
            f"(allow process-exec (literal {_quoted(interpreter)}))",
            "(allow process-fork)",
            "(allow signal (target self) (target children))",
            "(allow process-info* (target self))",
            "(allow sysctl-read)",
            "(deny network*)",
            "(deny mach-lookup)",
        ]
    )


def seatbelt_prefix() -> list[str]:
    """Return the arguments to put before the interpreter's command line."""
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
