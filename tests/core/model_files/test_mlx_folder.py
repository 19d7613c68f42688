"""A folder of MLX weights is read without a library, and one that is incomplete, damaged or holds code is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from conself_local.errors import ConselfError
from conself_local.model_files.chat_template import TemplateRenderer
from conself_local.model_files.mlx_folder import load_mlx_folder
from conself_local.model_files.model import open_model
from conself_local.sampling.sampler import ChatMessage
from tests.fakes.bare_mlx_folder import CONFIG, TEMPLATE, write_bare_folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder whose weights are in two files."""
    return write_bare_folder(tmp_path / "Tiny-4bit", parts=2)


def _change(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_the_metadata_are_read_from_the_configuration_and_the_headers(folder: Path) -> None:
    model = open_model(folder)
    assert (model.name, model.architecture, model.path) == ("Tiny-4bit", "llama", folder.resolve())
    assert (model.context_length, model.vocabulary, model.embedding_length, model.block_count) == (128, 16, 8, 2)
    assert model.kv_bytes_per_token == 2 * 2 * 2 * 1 * 4, "keys and values, 16 bits, 2 layers, 1 head of 4 values"
    assert model.weights == 2 * (64 + 32 + 96) + 128 and model.formats == (("F32", 6), ("F16", 1))
    assert len(model.parts) == 2 and model.size_bytes == sum(path.stat().st_size for path in model.parts)
    with TemplateRenderer(model.chat_template, model.special_tokens) as renderer:
        assert renderer.render([ChatMessage("user", "Hi")]) == "<s>Hi"


def test_the_hash_covers_names_and_contents_of_the_files_that_are_read(folder: Path, tmp_path: Path) -> None:
    """It prevents that a changed template, or weights under another name, count as the same model."""
    first = load_mlx_folder(folder).sha256
    other = tmp_path / "elsewhere"
    shutil.copytree(folder, other)
    (other / "README.md").write_text("not read by anything")
    assert load_mlx_folder(other).sha256 == first
    (other / "chat_template.jinja").write_text(TEMPLATE + " ")
    assert load_mlx_folder(other).sha256 != first
    (other / "chat_template.jinja").write_text(TEMPLATE)
    (other / "vocab.json").write_text("{}")
    assert load_mlx_folder(other).sha256 != first


def test_an_older_folder_has_its_template_in_the_tokenizers_configuration(folder: Path) -> None:
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(ConselfError, match="no chat template"):
        open_model(folder)
    _change(folder / "tokenizer_config.json", chat_template="old")
    assert open_model(folder).chat_template == "old"
    named = [{"name": "tool_use", "template": "no"}, {"name": "default", "template": "yes"}]
    _change(folder / "tokenizer_config.json", chat_template=named)
    assert open_model(folder).chat_template == "yes"
    (folder / "chat_template.jinja").write_text("new")
    assert open_model(folder).chat_template == "new"


def test_a_snapshot_of_hugging_face_is_called_by_its_model_and_read_through_its_links(tmp_path: Path) -> None:
    blobs = write_bare_folder(tmp_path / "hub/models--mlx-community--Tiny/blobs")
    snapshot = tmp_path / "hub/models--mlx-community--Tiny/snapshots/abc"
    snapshot.mkdir(parents=True)
    for path in blobs.iterdir():
        (snapshot / path.name).symlink_to(path)
    assert open_model(snapshot).name == "mlx-community/Tiny"


def test_the_shapes_of_quantised_tensors_are_those_of_their_values(folder: Path) -> None:
    """4 bits in groups of 32, and one layer that has 8 bits of its own, as mixed and DWQ folders have."""
    for path in folder.glob("model*"):
        path.unlink()

    def packed(rows: int, columns: int, bits: int) -> dict[str, Any]:
        scales = np.ones((rows, columns // 32), dtype=np.float16)
        return {"weight": np.zeros((rows, columns * bits // 32), dtype=np.uint32), "scales": scales, "biases": scales}

    tensors = {
        f"model.layers.{layer}.mlp.up_proj.{name}": value
        for layer, bits in ((0, 4), (1, 8))
        for name, value in packed(6, 64, bits).items()
    }
    save_file(tensors, folder / "model.safetensors")
    own = {"model.layers.1.mlp.up_proj": {"group_size": 32, "bits": 8}}
    _change(folder / "config.json", quantization={"group_size": 32, "bits": 4} | own)
    model = load_mlx_folder(folder)
    assert set(model.stored.linears.values()) == {(6, 64)} and model.weights == 2 * 6 * 64
    assert dict(model.formats) == {"4-bit": 1, "8-bit": 1}
    _change(folder / "config.json", quantization={"group_size": 32, "bits": 4})
    with pytest.raises(ConselfError, match="not quantised as its configuration says"):
        load_mlx_folder(folder)


def _without_a_file(folder: Path) -> None:
    (folder / "model-00002-of-00002.safetensors").unlink()


def _without_file_and_index(folder: Path) -> None:
    _without_a_file(folder)
    (folder / "model.safetensors.index.json").unlink()


def _without_a_tensor(folder: Path) -> None:
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    index["weight_map"]["model.norm.weight"] = "model-00001-of-00002.safetensors"
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def _cut_short(folder: Path) -> None:
    part = folder / "model-00001-of-00002.safetensors"
    part.write_bytes(part.read_bytes()[:-10])


REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "a missing part": (_without_a_file, "lacks the file model-00002-of-00002"),
    "a missing part without an index": (_without_file_and_index, "lacks the file model-00002-of-00002"),
    "a missing tensor": (_without_a_tensor, "lacks the tensor model.norm.weight"),
    "an index that leads elsewhere": (
        lambda f: (f / "model.safetensors.index.json").write_text('{"weight_map": {"a": "../b.safetensors"}}'),
        "is damaged",
    ),
    "weights that are cut short": (_cut_short, "cut short"),
    "code": (lambda f: (f / "modeling.py").write_text("print(1)"), "holds code"),
    "auto_map": (lambda f: _change(f / "config.json", auto_map={}), "run code from the model folder"),
    "auto_map of the tokenizer": (lambda f: _change(f / "tokenizer_config.json", auto_map={}), "run code"),
    "auto_map inside": (lambda f: _change(f / "config.json", text_config={"auto_map": {}}), "run code"),
    "no tokenizer": (lambda f: (f / "tokenizer.json").unlink(), "no tokenizer.json"),
    "no configuration": (lambda f: (f / "config.json").unlink(), "no config.json"),
    "a name of many lines": (lambda f: _change(f / "config.json", model_type="a\nb"), "no usable model_type"),
    "a size that is a text": (lambda f: _change(f / "config.json", hidden_size="8"), "no usable value for hidden_size"),
    "weights as a pickle": (
        lambda f: [path.rename(f / "pytorch_model.bin") for path in f.glob("model-*")],
        "has no weights",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_folder_that_cannot_be_trusted_is_refused(what: str, folder: Path) -> None:
    change, says = REFUSED[what]
    assert load_mlx_folder(folder).architecture == CONFIG["model_type"], "the control"
    change(folder)
    with pytest.raises(ConselfError, match=says):
        load_mlx_folder(folder)
