"""Report what this computer offers and which protections of the sandbox work on it (`conself doctor`).

Every protection is tried, not guessed. Not covered: repairing what is missing.
"""

from __future__ import annotations

import dataclasses
import platform
from typing import Any

from conself_local.cli.output import echo
from conself_local.errors import ConselfError
from conself_local.home import Home
from conself_local.machine.gpu import describe, find_gpus, usable_gpu
from conself_local.machine.processor import processor_has_bf16
from conself_local.machine.resources import available_memory_bytes, usable_cores
from conself_local.machine.room import gib
from conself_local.machine.versions import package_versions
from conself_local.model_files.bundled import bundled_model
from conself_local.problems.formats.human_eval import packaged_file
from sandbox import guarantees


def diagnose(home: Home) -> dict[str, Any]:
    """Return what was found, as plain JSON values; every protection of the sandbox is tried in its own process."""
    available = available_memory_bytes()
    return {
        "system": f"{platform.system()} {platform.release()} {platform.machine()}, Python {platform.python_version()}",
        "cores": usable_cores(),
        "bf16": processor_has_bf16(),
        "gpu": describe(find_gpus(), usable_gpu() is not None),
        "memory_available": gib(available) if available else "unknown",
        "home": str(home.path),
        "cache": str(home.cache),
        "bundled_model": _path_or_reason(bundled_model),
        "humaneval": _path_or_reason(packaged_file),
        "packages": package_versions(),
        "sandbox": [dataclasses.asdict(g) for g in guarantees()],
    }


def _path_or_reason(find: Any) -> str:
    """Return the path that `find` returns, or why there is none and what to do."""
    try:
        return str(find())
    except ConselfError as error:
        return f"{error.message}; {error.hint}"


def print_diagnosis(found: dict[str, Any]) -> None:
    """Print what `diagnose` returned, for people, on standard output."""
    for name in ("system", "cores", "bf16", "gpu", "memory_available", "home", "cache", "bundled_model", "humaneval"):
        echo(f"{name.replace('_', ' '):<18} {found[name]}")
    echo("packages           " + ", ".join(f"{name} {version}" for name, version in found["packages"].items()))
    echo("\nOn this computer, the sandbox keeps model-written programs from:")
    for guarantee in found["sandbox"]:
        echo(f"  {guarantee['level']:<9} {guarantee['name']:<11} {guarantee['what']}: {guarantee['how']}")
    echo("It does not protect against a program that lies about its own answers, nor against a bug in the kernel.")
