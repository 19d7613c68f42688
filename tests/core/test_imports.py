"""`conself --help` imports little and nothing heavy; the core never imports the UI. Each runs in a new process."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = ("llama_cpp", "mlx", "torch", "peft", "transformers", "textual", "numpy", "sqlite_utils")
MOST_MODULES = 280


def _imported(code: str) -> list[str]:
    """Return the names of all modules that are imported when `code` has run."""
    program = f"import sys, json\n{code}\nprint(json.dumps(sorted(sys.modules)), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    found: list[str] = json.loads(done.stderr.strip().splitlines()[-1])
    return found


def _modules_after(code: str) -> set[str]:
    return {name.split(".")[0] for name in _imported(code)}


def test_help_imports_nothing_heavy() -> None:
    code = "from conself_local.cli.main import main\ntry:\n    main(['--help'])\nexcept SystemExit:\n    pass"
    imported = _imported(code)
    assert not {name.split(".")[0] for name in imported} & set(HEAVY)
    assert len(imported) < MOST_MODULES, "every module delays every command"


@pytest.mark.parametrize(
    ("module", "unseen"),
    [
        ("conself_local.round.run", {"textual", "torch", "llama_cpp", "transformers", "peft"}),
        ("tui.app", {"torch", "llama_cpp", "transformers", "peft"}),
        ("sandbox", {"numpy", "click", "rich", "sqlite_utils", "conself_local"}),
    ],
)
def test_heavy_libraries_are_imported_by_few_modules_only(module: str, unseen: set[str]) -> None:
    assert not _modules_after(f"import {module}") & unseen
