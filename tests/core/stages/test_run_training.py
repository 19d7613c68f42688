"""A saved adapter keeps the asked part of what training changed, alike in the form that trains and in the one that samples."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from conself_local.adapters.formats import Adapter, read_adapter, write_peft
from conself_local.adapters.native import write_native
from conself_local.home import Home
from conself_local.model_files.model_file import ModelFile
from conself_local.stages.run_training import save_adapter
from conself_local.store.store import IMPORTED, Store
from tests.fakes.random_adapter import change_of, random_adapter
from tests.fakes.tiny_model import write_tiny_model


@pytest.fixture
def model(tmp_path: Path) -> ModelFile:
    """Return a tiny model."""
    return write_tiny_model(tmp_path / "tiny.gguf")


def _saved(model: ModelFile, folder: Path, trained: Adapter, strength: float, parent: Adapter | None = None) -> Adapter:
    """Save an adapter as if it had been trained, and return it as the engine reads it."""
    write_peft(trained, folder / "adapter", model.architecture)
    write_native(trained, model, folder)
    if parent:
        write_peft(parent, folder / "parent", model.architecture)
    home = Home(folder / "home")
    with Store(home.database) as store:
        columns = {"round_id": IMPORTED, "parent_id": None, "origin": "this test"}
        of_parent = str(folder / "parent") if parent else None
        row = store.adapter(save_adapter(store, home, model, folder, "a", columns, strength, of_parent))
        assert store.adapter_file(row["id"]) == Path(row["path"]), "its hash is that of the file"
    sampled, trains = (read_adapter(Path(row[name]), model) for name in ("path", "peft_path"))
    for name in trained.maps:
        np.testing.assert_allclose(change_of(sampled, name), change_of(trains, name), rtol=1e-5, atol=1e-6)
    return sampled


@pytest.mark.parametrize("strength", [1.0, 0.25])
def test_a_part_of_a_new_adapter_is_kept(model: ModelFile, tmp_path: Path, strength: float) -> None:
    trained = random_adapter(model, 0.1)
    saved = _saved(model, tmp_path, trained, strength)
    for name in trained.maps:
        np.testing.assert_allclose(change_of(saved, name), strength * change_of(trained, name), rtol=1e-5, atol=1e-7)


def test_what_earlier_rounds_learnt_is_kept_whole(model: ModelFile, tmp_path: Path) -> None:
    parent = random_adapter(model, 0.1)
    trained = Adapter(parent.scale, {name: (a, b + 0.05) for name, (a, b) in parent.maps.items()})
    saved = _saved(model, tmp_path, trained, 0.5, parent)
    for name in trained.maps:
        wanted = (change_of(parent, name) + change_of(trained, name)) / 2
        np.testing.assert_allclose(change_of(saved, name), wanted, rtol=1e-4, atol=1e-5)
