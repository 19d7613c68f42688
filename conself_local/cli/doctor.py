"""Report what this computer offers and which protections of the sandbox work on it (`conself doctor`).

Every protection is tried, not guessed. Not covered: repairing what is missing, and the content of the file for a bug
report (`maintenance/report.py`).
"""

from __future__ import annotations

import dataclasses
import platform
import sqlite3
from pathlib import Path
from typing import Any

from conself_local.cli.output import echo
from conself_local.errors import ConselfError
from conself_local.foreign_files import PARSER_ERRORS, reason
from conself_local.home import Home
from conself_local.machine.builds import (
    describe_gpus,
    describe_sampling,
    describe_training,
    llama_backends,
    torch_build,
)
from conself_local.machine.gpu import read_gpus
from conself_local.machine.mlx import describe_mlx
from conself_local.machine.openvino import describe_openvino
from conself_local.machine.processor import processor_has_bf16
from conself_local.machine.resources import available_memory_bytes, usable_cores
from conself_local.machine.room import gib, is_full, size_text
from conself_local.machine.versions import package_versions
from conself_local.maintenance.disk import measure_home
from conself_local.maintenance.prune import find_prunable
from conself_local.maintenance.report import write_report
from conself_local.model_files.bundled import bundled_model
from conself_local.problems.formats.human_eval import packaged_file
from conself_local.store.store import Store
from sandbox import guarantees

_LINES = (
    "system", "cores", "bf16", "openvino", "mlx", "gpu", "sampling", "training", "memory_available", "home", "cache",
    "bundled_model", "humaneval",
)  # fmt: skip


def diagnose(home: Home) -> dict[str, Any]:
    """Return what was found, as plain JSON values; every protection of the sandbox is tried in its own process.

    Sizes are in bytes.
    """
    available = available_memory_bytes()
    gpus = read_gpus()
    return {
        "system": f"{platform.system()} {platform.release()} {platform.machine()}, Python {platform.python_version()}",
        "cores": usable_cores(),
        "bf16": processor_has_bf16(),
        "openvino": describe_openvino(),
        "mlx": describe_mlx(),
        "gpu": describe_gpus(gpus),
        "sampling": describe_sampling(gpus, llama_backends()),
        "training": describe_training(gpus, torch_build()),
        "memory_available": gib(available) if available else "unknown",
        "home": str(home.path),
        "cache": str(home.cache),
        "bundled_model": _path_or_reason(bundled_model),
        "humaneval": _path_or_reason(packaged_file),
        "disk": dataclasses.asdict(measure_home(home)),
        "prunable": _prunable(home),
        "packages": package_versions(),
        "sandbox": [dataclasses.asdict(g) for g in guarantees()],
    }


def _prunable(home: Home) -> dict[str, int] | str:
    """Return the bytes that `conself prune` would remove, by kind, or why this is not known."""
    if not home.database.exists():
        return {}
    try:
        with Store(home.database, alone=is_full(home.path)) as store:
            return {one.kind: one.size_bytes for one in find_prunable(store, home)}
    except (ConselfError, sqlite3.DatabaseError, *PARSER_ERRORS) as error:
        return error.message if isinstance(error, ConselfError) else reason(error)


def _path_or_reason(find: Any) -> str:
    """Return the path that `find` returns, or why there is none and what to do."""
    try:
        return str(find())
    except ConselfError as error:
        return f"{error.message}; {error.hint}"


def print_diagnosis(found: dict[str, Any]) -> None:
    """Print what `diagnose` returned, for people, on standard output."""
    for name in _LINES:
        echo(f"{name.replace('_', ' '):<18} {found[name]}")
    _print_disk(found["disk"], found["prunable"])
    echo("packages           " + ", ".join(f"{name} {version}" for name, version in found["packages"].items()))
    echo("\nOn this computer, the sandbox keeps model-written programs from:")
    for guarantee in found["sandbox"]:
        echo(f"  {guarantee['level']:<9} {guarantee['name']:<11} {guarantee['what']}: {guarantee['how']}")
    echo("It does not protect against a program that lies about its own answers, nor against a bug in the kernel.")


def write_bug_report(home: Home, found: dict[str, Any], target: Path) -> None:
    """Write the new file `target` for a bug report, and print what it holds. Raises ConselfError if it exists."""
    names = write_report(home, found, target)
    echo(f"{target} ({size_text(target.stat().st_size)}) holds:")
    for name in names:
        echo(f"  {name}")
    echo("It holds no prompts, programs or problems; names of problems and messages of errors can be in the logs.")
    echo("Nothing was sent. Look into the file before you attach it to a report.")


def _print_disk(sizes: dict[str, int], prunable: dict[str, int] | str) -> None:
    """Print what the home takes on the disk, what is free, and what could be removed."""
    for name, size in sizes.items():
        label = "free disk space" if name == "free" else name.replace("_", " ")
        echo(f"{label:<18} {size_text(size)}")
    if isinstance(prunable, str):
        echo(f"{'can be removed':<18} not known: {prunable}")
        return
    parts = ", ".join(f"{kind} {size_text(size)}" for kind, size in prunable.items() if size)
    echo(f"{'can be removed':<18} {f'{parts} (conself prune)' if parts else 'nothing'}")
