"""The documents and the tree agree: every file has its line, every named command exists, and the tests mirror the packages."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import click
import pytest

from conself_local.cli.main import main
from conself_local.model_files.families import table
from conself_local.settings.table import settings_tables

ROOT = Path(__file__).parent.parent
GLOSS = re.compile(r"^- `([\w/.-]+)`: (.+)$", re.MULTILINE)
FENCE = re.compile(r"```(\w*)\n(.*?)```", re.DOTALL)
LISTED = {
    "conself_local": (".py", ".jsonl"),
    "sandbox": (".py",),
    "tui": (".py", ".tcss"),
    "tests": (".py",),
    "tests/benchmarks": (".py",),
}
"""Folder of a README -> the endings of the files that it lists."""
DOCUMENTS = sorted(
    str(path.relative_to(ROOT))
    for pattern in ("*.md", "*/README.md", "tests/benchmarks/README.md", ".github/*.md")
    for path in ROOT.glob(pattern)
)


def _files(folder: str, endings: tuple[str, ...]) -> set[str]:
    nested = {other.removeprefix(f"{folder}/") for other in LISTED if other.startswith(f"{folder}/")}
    return {
        str(path.relative_to(ROOT / folder))
        for path in (ROOT / folder).rglob("*")
        if path.suffix in endings
        and path.name not in ("__init__.py", "conftest.py")
        and not any(path.is_relative_to(ROOT / folder / other) for other in nested)
    }


@pytest.mark.parametrize("folder", LISTED)
def test_every_file_has_its_line_in_the_readme_of_its_folder(folder: str) -> None:
    lines = GLOSS.findall((ROOT / folder / "README.md").read_text(encoding="utf-8"))
    glossed = dict(lines)
    assert len(lines) == len(glossed), "a file has one line"
    wanted = _files(folder, LISTED[folder])
    assert wanted == {name for name in glossed if Path(name).suffix in LISTED[folder]}, wanted ^ set(glossed)
    assert all(len(text.split()) <= 25 for text in glossed.values()), "a line, not a paragraph"


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 120


def _commands(document: str) -> list[list[str]]:
    """The words of every `conself ...` in code blocks and between backticks, comments left aside."""
    text = (ROOT / document).read_text(encoding="utf-8")
    blocks = [body for language, body in FENCE.findall(text) if language in ("sh", "")]
    lines = [line for body in blocks for line in body.splitlines() if line.startswith("conself ")]
    lines += [inline.replace("\n", " ") for inline in re.findall(r"`(conself [^`]+)`", FENCE.sub("", text))]
    return [shlex.split(line, comments=True) for line in lines]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_command_exists_with_its_options(document: str) -> None:
    for _, *words in _commands(document):
        command: click.Command = main
        known = {name for parameter in main.params for name in parameter.opts}
        for word in words:
            if word.startswith("-"):
                option = word.split("=")[0]
                assert option in known | {"--help"}, f"{document}: {' '.join(words)}: no option {option}"
            elif isinstance(command, click.Group):
                found = command.commands.get(word)
                assert found or command.invoke_without_command, f"{document}: no command {word!r} in {' '.join(words)}"
                command = found or command
            known |= {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_link_to_a_file_leads_somewhere(document: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    targets = [target.split("#")[0] for target in re.findall(r"\]\(([^)\s]+)\)", text)]
    missing = [t for t in targets if t and "://" not in t and not ((ROOT / document).parent / t).exists()]
    assert missing == []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_module_that_is_run_exists(document: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    for module in re.findall(r"python -m ((?:tests|tui|conself_local|sandbox)[\w.]*\w)", text):
        path = ROOT / module.replace(".", "/")
        assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), f"{document}: {module}"


def test_the_example_of_the_sandbox_prints_what_it_says() -> None:
    (code,) = (
        body for language, body in FENCE.findall((ROOT / "sandbox/README.md").read_text()) if language == "python"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == code.rsplit("# ", 1)[1].strip() == "['2', '42']"


def test_the_tests_mirror_the_packages() -> None:
    packages = {path.parent.name for path in (ROOT / "conself_local").glob("*/__init__.py")}
    folders = {path.parent.name for path in (ROOT / "tests/core").glob("*/__init__.py")}
    assert folders == packages, folders ^ packages


def test_every_package_is_installed() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    listed = project["tool"]["setuptools"]["packages"]
    found = {
        ".".join(path.parent.relative_to(ROOT).parts)
        for top in ("conself_local", "sandbox", "tui")
        for path in (ROOT / top).rglob("__init__.py")
    }
    assert set(listed) == found and len(listed) == len(found)


def test_the_top_level_holds_nothing_else() -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.split()
    if not tracked:
        pytest.skip("not a git checkout")
    top = {name.split("/")[0] for name in tracked if not name.startswith(".")}
    files = {"CHANGELOG.md", "LICENSE", "NOTICE", "README.md", "pyproject.toml"}
    assert top == files | {"conself_local", "sandbox", "tests", "tui"}


def test_our_tests_package_cannot_be_hidden_by_another_one() -> None:
    """A dependency of evalplus installs a package `tests`; ours is a regular package in the working folder, so it goes first."""
    code = "import tests; print(tests.__file__)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert Path(done.stdout.strip()) == ROOT / "tests" / "__init__.py"


def test_the_tables_of_settings_are_made_from_their_descriptions() -> None:
    """`python -m conself_local.settings.table` prints them."""
    text = (ROOT / "conself_local" / "README.md").read_text(encoding="utf-8")
    shown = text.partition("<!-- settings -->\n")[2].partition("\n<!-- end of settings -->")[0]
    assert shown == settings_tables()


def test_the_table_of_families_is_what_the_program_prints() -> None:
    text = (ROOT / "conself_local" / "README.md").read_text(encoding="utf-8")
    assert text.partition("<!-- families -->\n")[2].partition("\n<!-- end of families -->")[0] == table()
