"""Delete questions of the user from a home: from the store, and from the files of trainings that used them.

The caller holds the lock of the home. Not covered: backups, homes of experiments, and the weights of adapters.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from conself_local.home import Home
from conself_local.store.forgetting import Traces, forget
from conself_local.store.store import Store


def edited_file(home: Home, number: int) -> Path:
    """Return the file in which the user edits the problem of a question; it stays if the edit cannot be used."""
    return home.path / f"question-{number}.toml"


def forget_questions(store: Store, home: Home, traces: Traces) -> None:
    """Delete what `traces` names. Raises ConselfError as `forget` does, and OSError if a file cannot be deleted."""
    forget(store, traces)
    for number in traces.numbers:
        edited_file(home, number).unlink(missing_ok=True)
    for round_id in traces.rounds:
        folder = home.training_folder(round_id)  # its job holds the tokens of the questions
        if folder.is_dir() and not folder.is_symlink():
            shutil.rmtree(folder)
