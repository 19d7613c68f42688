"""Write one file for a bug report: what this computer offers, the settings of the rounds, their notices, and the logs.

In it are no prompts, no programs, no problems and no paths of the user's own folder. Names of problems, and what error
messages quote, can be in the logs; the user can read the file before it is sent, which nothing here does.
"""

from __future__ import annotations

import json
import os
import sqlite3
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from conself_local.errors import ConselfError
from conself_local.foreign_files import PARSER_ERRORS, open_regular, reason
from conself_local.foreign_text import shown
from conself_local.home import Home, user_home
from conself_local.machine.log_files import LOG_NAMES, MAX_LOG_BYTES, list_logs
from conself_local.new_files import new_private_file
from conself_local.store.reports import describe_rounds
from conself_local.store.store import Store

_README = """This file was written by `conself doctor --report` for a bug report. Nothing was sent.

doctor.json    what this computer offers, the protections of the sandbox, and versions of packages
rounds.json    settings, versions, finished stages and notices (without their texts) of the rounds
logs/          the latest logs of rounds, engines, trainers and screens, and where errors happened

In it are no prompts, no programs and no problems. The logs can hold names of problems and the messages of errors.
Paths below your own folder are written as ~, those below the home of this program as HOME.
"""
_ERROR_LOGS = ("conself.log", "conself.log.1", "conself.log.2", "conself.log.3")


def write_report(home: Home, diagnosis: dict[str, Any], target: Path) -> list[str]:
    """Write the new file `target` and return the names of what is in it; it appears only when it is complete.

    diagnosis: as `cli/doctor.py` makes it. Raises ConselfError if something is at `target`, OSError if it cannot be
    written.
    """
    contents = {
        "README.txt": _README,
        "doctor.json": json.dumps(diagnosis, indent=2, ensure_ascii=False),
        "rounds.json": json.dumps(_rounds(home), indent=2, ensure_ascii=False),
        **dict(_logs(home)),
    }
    with new_private_file(target) as part, zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as file:
        for name, text in contents.items():
            file.writestr(name, _without_own_paths(text, home).encode(errors="backslashreplace"))
    return list(contents)


def _rounds(home: Home) -> list[dict[str, Any]] | str:
    """Return the rounds without any text that a model, a user or a problem wrote, or why they cannot be read."""
    if not home.database.exists():
        return []
    try:
        with Store(home.database) as store:
            return describe_rounds(store)
    except (ConselfError, sqlite3.DatabaseError, *PARSER_ERRORS) as error:
        return error.message if isinstance(error, ConselfError) else reason(error)


def _logs(home: Home) -> Iterator[tuple[str, str]]:
    """Yield (name in the file, text) of every log; one that cannot be read is left out, links are not followed."""
    paths = [path for name in LOG_NAMES for path in list_logs(home.logs, name)]
    paths += [path for name in _ERROR_LOGS if not (path := home.logs / name).is_symlink()]
    for path in paths:
        try:
            with open_regular(path) as log:
                log.seek(max(0, log.seek(0, os.SEEK_END) - MAX_LOG_BYTES))
                yield f"logs/{path.name}", log.read(MAX_LOG_BYTES).decode(errors="replace")
        except OSError:
            continue


def _without_own_paths(text: str, home: Home) -> str:
    """Return the text with the home and the user's own folder replaced by short names."""
    own = user_home()
    replaced = {str(home.path): "HOME", os.path.realpath(home.path): "HOME"}
    replaced |= {str(own): "~", os.path.realpath(own): "~"} if own else {}
    for path in sorted(replaced, key=len, reverse=True):
        # as it is, as JSON writes it, and as logs show it
        for written in (path, json.dumps(path, ensure_ascii=False)[1:-1], shown(path, lines=False)):
            if path != os.sep:
                text = text.replace(written, replaced[path])
    return text
