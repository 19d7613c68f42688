"""A merged folder is a model that mlx-lm loads, with the formats that were asked for and the change of the adapter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("mlx.core")

import mlx.core as mx
import numpy as np
from mlx_lm.tuner.utils import load_adapters
from mlx_lm.utils import load_model

from conself_local.adapters.formats import write_mlx
from conself_local.adapters.fuse import fuse_folder
from conself_local.errors import ConselfError
from conself_local.model_files.mlx_folder import MlxFolder, load_mlx_folder
from tests.core.adapters.test_mlx_adapters import random_mlx_adapter
from tests.fakes.talking_folder import write_talking_folder

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> MlxFolder:
    """Return a folder with 4 bits per weight."""
    return load_mlx_folder(write_talking_folder(tmp_path_factory.mktemp("models") / "Tiny-4bit", learns=False, bits=4))


@pytest.fixture(scope="module")
def adapter(model: MlxFolder) -> Path:
    """Return an adapter folder that changes every linear map a little."""
    path = model.path.parent / "adapter"
    random = random_mlx_adapter(model)
    write_mlx(type(random)(0.01, random.maps), path, model.block_count)
    return path


def _logits(model: Path, adapter: Path | None = None) -> Any:
    loaded: Any = load_model(model)
    network = load_adapters(loaded[0], str(adapter)) if adapter else loaded[0]
    return np.array(network(mx.array([[5, 9, 33, 120]])).astype(mx.float32))


def test_a_merged_folder_keeps_its_bits_and_its_other_files(model: MlxFolder, adapter: Path, tmp_path: Path) -> None:
    (tmp_path / "merged").mkdir()
    fuse_folder(model, adapter, tmp_path / "merged", "shipped")
    merged = load_mlx_folder(tmp_path / "merged")
    assert merged.formats == model.formats and merged.stored.linears == model.stored.linears
    assert merged.template_hash == model.template_hash
    assert (merged.path / "tokenizer.json").read_bytes() == (model.path / "tokenizer.json").read_bytes()
    assert not np.allclose(_logits(merged.path), _logits(model.path))


def test_sixteen_bits_keep_the_change(model: MlxFolder, adapter: Path, tmp_path: Path) -> None:
    (tmp_path / "merged").mkdir()
    fuse_folder(model, adapter, tmp_path / "merged", "BF16")
    merged = load_mlx_folder(tmp_path / "merged")
    assert {name for name, _ in merged.formats} == {"BF16"} and merged.weights == model.weights
    base, wanted = _logits(model.path), _logits(model.path, adapter)
    assert np.abs(_logits(merged.path) - wanted).mean() < 0.2 * np.abs(wanted - base).mean()


def test_a_format_that_a_folder_cannot_have_is_refused(model: MlxFolder, adapter: Path, tmp_path: Path) -> None:
    with pytest.raises(ConselfError, match="cannot be written in the format Q8_0"):
        fuse_folder(model, adapter, tmp_path, "Q8_0")
    assert not list(tmp_path.iterdir())
