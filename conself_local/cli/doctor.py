"""`conself doctor`: what this computer has, and what the sandbox guarantees on it, tried and told in plain words."""

from __future__ import annotations

import dataclasses
import platform
from pathlib import Path
from typing import Any

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


def diagnose(home: Path | None) -> dict[str, Any]:
    available = available_memory_bytes()
    return {
        "system": f"{platform.system()} {platform.release()} {platform.machine()}, Python {platform.python_version()}",
        "cores": usable_cores(),
        "bf16": processor_has_bf16(),
        "gpu": describe(find_gpus(), usable_gpu() is not None),
        "memory_available": gib(available) if available else "unknown",
        "home": str(Home(home).path),
        "bundled_model": _found(bundled_model),
        "humaneval": _found(packaged_file),
        "packages": package_versions(),
        "sandbox": [dataclasses.asdict(g) for g in guarantees()],
    }


def _found(find: Any) -> str:
    try:
        return str(find())
    except ConselfError as error:
        return f"{error.message}; {error.hint}"


def print_diagnosis(found: dict[str, Any]) -> None:
    for name in ("system", "cores", "bf16", "gpu", "memory_available", "home", "bundled_model", "humaneval"):
        print(f"{name.replace('_', ' '):<18} {found[name]}")
    print("packages           " + ", ".join(f"{name} {version}" for name, version in found["packages"].items()))
    print("\nWhat the sandbox keeps model-written programs from, on this computer:")
    for g in found["sandbox"]:
        print(f"  {g['level']:<9} {g['name']:<11} {g['what']}: {g['how']}")
    print("It does not keep a program from lying about its own answers, nor from what a bug in the kernel allows.")
