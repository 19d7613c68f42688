"""Set what holds for every test: how OpenMP threads wait, and that no property is judged by the clock."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from conself_local.machine.child_environment import openmp_waiting

os.environ |= openmp_waiting()
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Do not even import a module whose tests all load a model if they are deselected: torch alone takes seconds."""
    deselected = "not (model" in config.option.markexpr or "not model" in config.option.markexpr
    if not deselected or collection_path.suffix != ".py":
        return None
    return True if "\npytestmark = pytest.mark.model\n" in collection_path.read_text(encoding="utf-8") else None
