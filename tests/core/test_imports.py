"""`conself --help` is fast and imports nothing heavy; the core never imports the UI. Each runs in a new process."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest

HEAVY = ("llama_cpp", "mlx", "torch", "peft", "transformers", "textual", "numpy", "sqlite_utils")
HELP_SECONDS = 0.3


def _modules_after(code: str) -> set[str]:
    program = f"import sys, json\n{code}\nprint(json.dumps(sorted({{m.split('.')[0] for m in sys.modules}})), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(json.loads(done.stderr.strip().splitlines()[-1]))


def test_help_imports_nothing_heavy() -> None:
    code = "from conself_local.cli.main import main\ntry:\n    main(['--help'])\nexcept SystemExit:\n    pass"
    assert not _modules_after(code) & set(HEAVY)


def test_help_is_quick() -> None:
    seconds = []
    for _ in range(5):
        started = time.perf_counter()
        subprocess.run([sys.executable, "-m", "conself_local", "--help"], capture_output=True, check=True)
        seconds.append(time.perf_counter() - started)
    assert min(seconds) < HELP_SECONDS, seconds


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
