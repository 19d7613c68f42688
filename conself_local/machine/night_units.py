"""Write the files by which the system starts a round every night: a systemd user timer, or a launchd agent on a Mac.

Paths may hold spaces, quotes, dollar and percent signs: no shell ever reads them, and each form is escaped by its own
rules. The launchd agent has never been run. Not covered: what the night does (`round/night.py`).
Source: systemd.service(5), systemd.timer(5), systemd.syntax(7), launchd.plist(5).
"""

from __future__ import annotations

import contextlib
import os
import plistlib
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from conself_local.errors import ConselfError
from conself_local.foreign_text import is_encodable
from conself_local.home import user_home
from conself_local.new_files import whole_file

UNIT, LABEL = "conself-nightly", "local.conself.nightly"
_TIME = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])")
_GRACE_S = 900
"""Time that the night has to end by itself after its hours, before the system ends it."""
_STOP_S = 180
_SYSTEM_SECONDS = 60
_HINT = "the files are written; start the timer yourself: {command}"
_SERVICE = """\
# Written by `conself schedule`; `conself schedule --off` removes it.
[Unit]
Description=conself: a round at night

[Service]
Type=simple
# The colon keeps systemd from replacing variables. The program itself looks whether the computer is on mains power:
# ConditionACPower= would skip the night without a word in the morning.
ExecStart={command}
{environment}Nice=10
# The program gets the signal first, and ends the round with everything kept.
KillMode=mixed
TimeoutStopSec={stop}
RuntimeMaxSec={longest}
"""
_TIMER = """\
# Written by `conself schedule`; `conself schedule --off` removes it.
[Unit]
Description=conself: a round every night

[Timer]
OnCalendar=*-*-* {time}:00
AccuracySec=1min
# A night that the computer slept through is not made up for by day.
Persistent=false
Unit={unit}.service

[Install]
WantedBy=timers.target
"""


@dataclass(frozen=True)
class Night:
    """What the system starts, when, and for how long at most."""

    time: str
    """24 hours: `01:00`."""
    hours: float
    command: tuple[str, ...]
    """The program by its absolute path, and its arguments."""
    environment: Mapping[str, str]


def parse_time(text: str) -> str:
    """Return a time of day as `HH:MM`. Raises ConselfError if it is none."""
    if not _TIME.fullmatch(text):
        raise ConselfError(f"{text} is no time of day", "write it with 24 hours, as in --nightly 01:00")
    return text


def is_mac() -> bool:
    """Return whether launchd starts what the user schedules here."""
    return sys.platform == "darwin"


def unit_files(night: Night) -> dict[Path, str]:
    """Return the files of a night, path -> text. Raises ConselfError if a word cannot stand in such a file."""
    for word in (*night.command, *night.environment.values()):
        if not is_encodable(word) or any(ord(c) < 32 or ord(c) == 127 for c in word):
            raise ConselfError(
                f"{word!r} holds characters that no timer can hold",
                "use another path",
            )
    if is_mac():
        return {_agent(): launchd_text(night)}
    service, timer = _systemd_paths()
    return {service: service_text(night), timer: _TIMER.format(time=night.time, unit=UNIT)}


def service_text(night: Night) -> str:
    """Return the systemd service of a night."""
    program, *arguments = night.command
    environment = "".join(f"Environment={systemd_word(f'{k}={v}')}\n" for k, v in sorted(night.environment.items()))
    return _SERVICE.format(
        command=" ".join([systemd_word(f":{program}"), *map(systemd_word, arguments)]),
        environment=environment,
        stop=_STOP_S,
        longest=round(night.hours * 3600) + _GRACE_S,
    )


def systemd_word(text: str) -> str:
    """Return a word as systemd reads it back: `50% of "it"` -> `"50%% of \\"it\\""`."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"'


def launchd_text(night: Night) -> str:
    """Return the launchd agent of a night, which has never been run."""
    hour, minute = map(int, night.time.split(":"))
    content = {
        "Label": LABEL,
        "ProgramArguments": list(night.command),
        "StartCalendarInterval": {"Hour": hour, "Minute": minute},
        "EnvironmentVariables": dict(night.environment),
        "ProcessType": "Background",
        "ExitTimeOut": _STOP_S,
    }
    return plistlib.dumps(content).decode()


def install(files: Mapping[Path, str]) -> None:
    """Write the files of a night and let the system start it; those of an earlier one are replaced.

    Raises ConselfError if the system does not take them, and OSError if they cannot be written.
    """
    for path, text in files.items():
        with whole_file(path) as part:
            part.write_text(text, encoding="utf-8")
    if is_mac():
        domain = f"gui/{os.getuid()}"
        with contextlib.suppress(ConselfError):  # none was loaded
            _call(["launchctl", "bootout", f"{domain}/{LABEL}"])
        _call(["launchctl", "bootstrap", domain, str(_agent())])
        return
    _call(["systemctl", "--user", "daemon-reload"])
    _call(["systemctl", "--user", "enable", f"{UNIT}.timer"])
    _call(["systemctl", "--user", "restart", f"{UNIT}.timer"])


def remove() -> bool:
    """Stop the timer and remove its files; return whether there were any. A night that runs now goes on."""
    if is_mac():
        files = [_agent()]
        with contextlib.suppress(ConselfError):
            _call(["launchctl", "bootout", f"gui/{os.getuid()}/{LABEL}"])
    else:
        files = list(_systemd_paths())
        files.append(files[0].parent / "timers.target.wants" / f"{UNIT}.timer")
        with contextlib.suppress(ConselfError):  # the timer is not loaded, or systemd is not there
            _call(["systemctl", "--user", "disable", "--now", f"{UNIT}.timer"])
    found = [path for path in files if os.path.lexists(path)]
    for path in found:
        path.unlink()
    if found and not is_mac():
        with contextlib.suppress(ConselfError):
            _call(["systemctl", "--user", "daemon-reload"])
    return bool(found)


def installed_file() -> Path | None:
    """Return the file by which a night is scheduled; None if none is."""
    path = _agent() if is_mac() else _systemd_paths()[1]
    return path if path.is_file() else None


def _systemd_paths() -> tuple[Path, Path]:
    """Return the paths of service and timer. Raises ConselfError if the user has no folder."""
    given = os.environ.get("XDG_CONFIG_HOME", "")
    base = Path(given) if Path(given).is_absolute() else _user_folder() / ".config"
    folder = base / "systemd" / "user"
    return folder / f"{UNIT}.service", folder / f"{UNIT}.timer"


def _agent() -> Path:
    return _user_folder() / "Library" / "LaunchAgents" / f"{LABEL}.plist"


def _user_folder() -> Path:
    folder = user_home()
    if folder is None:
        raise ConselfError("this user has no home folder, so nothing can be scheduled", "set HOME")
    return folder


def _call(command: Sequence[str]) -> None:
    """Run a command of the system. Raises ConselfError with what it says if it fails or is missing."""
    hint = _HINT.format(command=" ".join(command))
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=_SYSTEM_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ConselfError(f"{command[0]} cannot be run: {error}", hint) from error
    if done.returncode:
        raise ConselfError(f"{command[0]} failed: {' '.join(done.stderr.split())[:300]}", hint)
