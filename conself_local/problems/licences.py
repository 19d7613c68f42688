"""Find the licence of a Python file: what the metadata of its package says, or the user's own.

Looked at in each folder, from the file's own upwards: metadata of an installed package, `pyproject.toml`, `PKG-INFO`,
and a licence file; the search ends at the root of a repository. Not covered: whether the metadata is right.
"""

from __future__ import annotations

import re
import sysconfig
from email.parser import HeaderParser
from functools import lru_cache
from pathlib import Path
from typing import Any

from conself_local.errors import ConselfError
from conself_local.foreign_files import PARSER_ERRORS, read_text
from conself_local.foreign_text import shown
from conself_local.problems.source_modules import SHARED_FOLDERS, real_path
from conself_local.problems.toml_file import read_toml

YOUR_OWN = "your own"
NOT_STATED = "not stated by its package"
_MAX_METADATA_BYTES = 1_000_000
_MAX_RECORD_BYTES = 10_000_000
_MAX_CHARACTERS = 80
_MAX_PACKAGES = 2_000
"""Installed packages that are looked at in one folder."""
_CLASSIFIER = "License :: "


def licence_of(file: Path) -> str:
    """Return the licence of a Python file in one short line: an expression, a name, or the file that holds it.

    `YOUR_OWN` if nothing names one; `NOT_STATED` if the file belongs to an installed package that names none.
    """
    path = real_path(file)
    if path.is_relative_to(sysconfig.get_path("stdlib")) and not set(SHARED_FOLDERS) & set(path.parts):
        return "PSF-2.0"
    part = path.name
    for folder in path.parents:
        found = _licence_in(folder, part)
        if found:
            return " ".join(shown(found, lines=False).split())[:_MAX_CHARACTERS]
        if (folder / ".git").exists():
            break
        part = folder.name
    return YOUR_OWN


@lru_cache(maxsize=256)
def _licence_in(folder: Path, part: str) -> str:
    """Return the licence that a folder states for its entry `part`; an empty text if it states none."""
    if metadata := _owners(folder).get(part):
        return _licence_of_metadata(metadata) or NOT_STATED
    if folder.name in SHARED_FOLDERS:
        return NOT_STATED
    stated = ""
    if (folder / "pyproject.toml").is_file():
        stated = _licence_of_project(folder / "pyproject.toml")
    if not stated and (folder / "PKG-INFO").is_file():
        stated = _licence_of_metadata(folder / "PKG-INFO")
    return stated or next((f"see {path.name}" for path in _licence_files(folder)), "")


@lru_cache(maxsize=16)
def _owners(folder: Path) -> dict[str, Path]:
    """Return for each entry of a folder the metadata of the installed package that it belongs to."""
    owners: dict[str, Path] = {}
    for info in sorted(folder.glob("*.dist-info"))[:_MAX_PACKAGES]:
        try:
            record = read_text(info / "RECORD", _MAX_RECORD_BYTES)
        except (OSError, *PARSER_ERRORS):
            continue  # without a list of its files, nothing says what belongs to it
        for line in record.splitlines():
            owners.setdefault(re.split("[/,]", line, maxsplit=1)[0], info / "METADATA")
    return owners


def _licence_files(folder: Path) -> list[Path]:
    return sorted(p for name in ("LICEN[CS]E*", "COPYING*") for p in folder.glob(name) if p.is_file())


def _licence_of_metadata(path: Path) -> str:
    """Return the licence in the metadata of a package: an expression, a name, or a classifier."""
    try:
        metadata = HeaderParser().parsestr(read_text(path, _MAX_METADATA_BYTES))
    except (OSError, *PARSER_ERRORS):
        return ""
    for name in ("License-Expression", "License"):
        if stated := _first_line(metadata.get(name)):
            return stated
    return _of_classifiers(metadata.get_all("Classifier") or [])


def _licence_of_project(path: Path) -> str:
    try:
        project = read_toml(path, "")[1].get("project")
    except ConselfError:
        return ""  # a pyproject.toml that cannot be read states nothing
    if not isinstance(project, dict):
        return ""
    stated: Any = project.get("license")
    if isinstance(stated, dict):
        stated = stated.get("text") or (f"see {stated['file']}" if "file" in stated else "")
    classifiers = project.get("classifiers")
    return _first_line(stated) or _of_classifiers(classifiers if isinstance(classifiers, list) else [])


def _first_line(text: object) -> str:
    lines = str(text).strip().splitlines() if isinstance(text, str) else []
    return lines[0].strip() if lines and lines[0].strip() != "UNKNOWN" else ""


def _of_classifiers(classifiers: list[Any]) -> str:
    stated = [str(one) for one in classifiers if str(one).startswith(_CLASSIFIER)]
    return stated[0].rpartition(" :: ")[2] if stated else ""
