"""The sandbox also holds for an ordinary user: if the tests run as root, these run once more without its power."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NOBODY = 65534
_NEEDED = (
    "pytest",
    "_pytest",
    "pluggy",
    "iniconfig",
    "packaging",
    "pygments",
    "pytest_timeout",
    "hypothesis",
    "sortedcontainers",
    "py",
    "_hypothesis_globals",
    "_hypothesis_ftz_detector",
    "_hypothesis_pytestplugin",
)
"""The packages that the tests need, in pure Python."""


def _interpreters() -> list[str]:
    """Return interpreters of this version that an ordinary user can start: not one below root's own folder."""
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    found = [os.path.realpath(sys.executable), f"/usr/bin/{version}", f"/usr/local/bin/{version}"]
    return [path for path in found if _start_as_user([path, "-c", "import json"], Path("/")).returncode == 0]


def _start_as_user(command: list[str], folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(folder), **variables}
    try:
        return subprocess.run(
            command, cwd=folder, env=environment, user=NOBODY, group=NOBODY, extra_groups=[],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    except OSError as error:
        return subprocess.CompletedProcess(command, 126, "", str(error))


@pytest.mark.round
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="the tests run as an ordinary user already")
def test_everything_holds_as_an_ordinary_user(tmp_path: Path) -> None:
    interpreters = _interpreters()
    if not interpreters:
        pytest.skip("no interpreter of this version can be started by an ordinary user")
    copy = Path("/tmp") / f"conself-as-user-{os.getpid()}"
    try:
        for folder in ("sandbox", "tests/sandbox", "conself_local/method"):
            shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__"))
        (copy / "conself_local" / "__init__.py").touch()
        (copy / "tests" / "__init__.py").touch()
        (copy / "packages").mkdir()
        for name in _NEEDED:
            spec = importlib.util.find_spec(name)
            assert spec and spec.origin, f"{name} is installed"
            source = Path(spec.origin)
            if source.name == "__init__.py":
                shutil.copytree(source.parent, copy / "packages" / name)
            else:
                shutil.copy(source, copy / "packages")
        for path in [copy, *copy.rglob("*")]:
            os.chown(path, NOBODY, NOBODY)
        command = [
            interpreters[0],
            "-P",
            "-m",
            "pytest",
            "-q",
            "-p",
            "pytest_timeout",
            "--timeout=120",
            "--import-mode=importlib",
        ]
        command += [
            "-p",
            "no:cacheprovider",
            f"--basetemp={copy}/tmp",
            "-k",
            "not as_an_ordinary_user",
            "tests/sandbox",
        ]
        done = _start_as_user(
            command,
            copy,
            PYTHONPATH=f"{copy}/packages:{copy}",
            PYTEST_DISABLE_PLUGIN_AUTOLOAD="1",
            PYTHONDONTWRITEBYTECODE="1",
            CI="1",  # so that Hypothesis judges nothing by the clock
        )
        assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
        assert " passed" in done.stdout
    finally:
        shutil.rmtree(copy, ignore_errors=True)
