"""Parse TOML in a limited child process; `toml_file.py` starts it."""

from __future__ import annotations

import tomllib

from conself_local.machine.limited_child import serve

if __name__ == "__main__":
    serve(tomllib.loads)
