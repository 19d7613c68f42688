"""Read a TOML file that a person wrote or got from elsewhere, in a child process with little memory and time.

Python's TOML parser needs time that grows with the square of a dotted key's length, so a small file can be hours of
work.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from conself_local.foreign_files import read_text, refusing
from conself_local.machine.limited_child import LimitedChild

MAX_TOML_BYTES = 1_000_000


def read_toml(path: Path, hint: str) -> tuple[str, dict[str, Any]]:
    """Return the file's text and its tables as plain values.

    Raises ConselfError with `hint` if the file cannot be read, is larger than 1 MB, is not TOML or holds a date.
    """
    with (
        refusing(f"{path} cannot be read", hint),
        LimitedChild("conself_local.problems.toml_child") as child,
    ):
        text = read_text(path, MAX_TOML_BYTES)
        return text, child.ask(text)
