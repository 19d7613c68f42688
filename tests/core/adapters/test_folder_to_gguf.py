"""A folder and a GGUF file of the same model give the same GGUF adapter, row by row."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("mlx.core")

import mlx.core as mx

from conself_local.adapters.folder_to_gguf import write_gguf_of_folder
from conself_local.adapters.formats import write_gguf
from conself_local.errors import ConselfError
from conself_local.model_files.mlx_folder import load_mlx_folder
from tests.core.adapters.test_mlx_adapters import random_mlx_adapter
from tests.fakes.bare_mlx_folder import write_bare_folder
from tests.fakes.mlx_of_gguf import write_mlx_of_gguf
from tests.fakes.tiny_model import write_tiny_model

pytestmark = pytest.mark.model


@pytest.mark.parametrize("architecture", ["llama", "qwen2"])
def test_the_adapter_is_the_one_of_the_gguf_file(architecture: str, tmp_path: Path) -> None:
    """It prevents rows of Q and K in the order of MLX, with which llama.cpp would compute another model."""
    model = write_tiny_model(tmp_path / "tiny.gguf", architecture)
    folder = load_mlx_folder(write_mlx_of_gguf(model, tmp_path / "folder", mx.float32, tokenizer=False))
    adapter = random_mlx_adapter(folder)
    write_gguf(adapter, model, tmp_path / "of_file.gguf")
    write_gguf_of_folder(adapter, folder, tmp_path / "of_folder.gguf")
    assert (tmp_path / "of_folder.gguf").read_bytes() == (tmp_path / "of_file.gguf").read_bytes()
    if architecture == "llama":
        write_gguf(adapter, model, tmp_path / "unordered.gguf", permute=False)
        assert (tmp_path / "of_folder.gguf").read_bytes() != (tmp_path / "unordered.gguf").read_bytes()


def test_a_family_that_gguf_does_not_name_is_refused(tmp_path: Path) -> None:
    folder = write_bare_folder(tmp_path / "Tiny")
    (folder / "config.json").write_text((folder / "config.json").read_text().replace("llama", "cohere"))
    model = load_mlx_folder(folder)
    with pytest.raises(ConselfError, match="cohere cannot be written as GGUF"):
        write_gguf_of_folder(random_mlx_adapter(model), model, tmp_path / "a.gguf")
