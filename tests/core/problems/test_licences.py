"""A harvested problem names the licence of its package, and calls only the user's own code the user's own."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from conself_local.problems.licences import NOT_STATED, YOUR_OWN, licence_of


def _installed(folder: Path, metadata: str) -> Path:
    (folder / "thing").mkdir(parents=True)
    info = folder / "thing-1.0.dist-info"
    info.mkdir()
    (info / "RECORD").write_text("thing/__init__.py,sha256=x,1\nthing-1.0.dist-info/METADATA,,\n")
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: thing\n{metadata}\n\nText of the package.\n")
    file = folder / "thing" / "__init__.py"
    file.write_text("")
    return file


@pytest.mark.parametrize(
    "metadata, licence",
    [
        ("License-Expression: MIT", "MIT"),
        ("License: BSD\n        with more lines", "BSD"),
        ("License: UNKNOWN\nClassifier: License :: OSI Approved :: Apache Software License", "Apache Software License"),
        ("Summary: nothing", NOT_STATED),
        ("License: \x1b]52;c;x\x07evil", r"\x1b]52;c;x\x07evil"),
    ],
)
def test_metadata_of_an_installed_package(metadata: str, licence: str, tmp_path: Path) -> None:
    assert licence_of(_installed(tmp_path / "site-packages", metadata)) == licence


def test_a_module_that_no_package_claims_is_not_the_users_own(tmp_path: Path) -> None:
    _installed(tmp_path / "site-packages", "License: MIT")
    other = tmp_path / "site-packages" / "other.py"
    other.write_text("")
    assert licence_of(other) == NOT_STATED


def test_projects_and_plain_folders(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    file = tmp_path / "src" / "mine" / "lib.py"
    file.parent.mkdir(parents=True)
    file.write_text("")
    assert licence_of(file) == YOUR_OWN


@pytest.mark.parametrize(
    "project, licence",
    [
        ('[project]\nname = "x"\nlicense = "Apache-2.0"', "Apache-2.0"),
        ('[project]\nname = "x"\nlicense = {file = "LEGAL"}', "see LEGAL"),
        ('[project]\nname = "x"\nclassifiers = ["License :: OSI Approved :: MIT License"]', "MIT License"),
        ('[project]\nname = "x"', YOUR_OWN),
        ("[project\n", YOUR_OWN),
    ],
)
def test_pyproject(project: str, licence: str, tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / "pyproject.toml").write_text(project)
    (tmp_path / "lib.py").write_text("")
    assert licence_of(tmp_path / "lib.py") == licence


def test_a_licence_file_and_the_standard_library(tmp_path: Path) -> None:
    (tmp_path / "COPYING").write_text("text")
    (tmp_path / "lib.py").write_text("")
    assert licence_of(tmp_path / "lib.py") == "see COPYING"
    assert licence_of(Path(textwrap.__file__)) == "PSF-2.0"
