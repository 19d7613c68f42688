"""A split model is one model by any of its parts, and a set of parts that is not whole is refused by name."""

from __future__ import annotations

import shutil
import struct
from pathlib import Path

import numpy as np
import pytest

from conself_local.adapters.formats import write_gguf
from conself_local.adapters.merge import merge_adapter
from conself_local.errors import ConselfError
from conself_local.model_files.gguf_file import open_gguf
from conself_local.model_files.gguf_weights import read_weights
from conself_local.model_files.installed import describe_models, find_models
from conself_local.model_files.memory import training_bytes
from conself_local.model_files.model_file import ModelFile, load_model_file
from tests.fakes.random_adapter import random_adapter
from tests.fakes.tiny_model import write_tiny_model


@pytest.fixture
def split(tmp_path: Path) -> ModelFile:
    """Return a model in four parts."""
    return write_tiny_model(tmp_path / "split.gguf", tensors_per_part=6)


def test_any_part_stands_for_the_whole_model(split: ModelFile, tmp_path: Path) -> None:
    assert [part.name for part in split.parts] == [f"split-{n:05d}-of-00004.gguf" for n in (1, 2, 3, 4)]
    assert split.path == split.parts[0] and split.size_bytes == sum(part.stat().st_size for part in split.parts)
    for part in split.parts:
        assert load_model_file(part) == split
    whole = write_tiny_model(tmp_path / "whole.gguf")
    assert (whole.weights, whole.formats) == (split.weights, split.formats)
    assert training_bytes(split) - training_bytes(whole) == split.size_bytes - whole.size_bytes
    mine, theirs = ({t.name: t.dense() for t in read_weights(model).tensors} for model in (split, whole))
    assert mine.keys() == theirs.keys() and all(np.array_equal(mine[name], theirs[name]) for name in mine)


def test_the_hash_covers_every_part(split: ModelFile) -> None:
    before = split.sha256
    for part in split.parts:
        whole = part.read_bytes()
        part.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        assert load_model_file(part).sha256 != before
        part.write_bytes(whole)
    assert load_model_file(split.path).sha256 == before


@pytest.mark.parametrize("gone", [[0], [2], [1, 3]])
def test_a_missing_part_is_named(split: ModelFile, gone: list[int]) -> None:
    for n in gone:
        split.parts[n].unlink()
    for part in split.parts:
        if part.exists():
            with pytest.raises(ConselfError) as error:
                load_model_file(part)
            assert all(split.parts[n].name in str(error.value) for n in gone), error.value
            assert "is missing" in str(error.value) if len(gone) == 1 else "are missing" in str(error.value)
            assert "download all parts into one folder" in error.value.hint


@pytest.mark.parametrize("name", ["mine.gguf", "mine-00001-of-00004.GGUF", "mine-1-of-4.gguf", "m-00001-of-00009.gguf"])
def test_a_part_under_another_name_is_told_its_name(split: ModelFile, tmp_path: Path, name: str) -> None:
    shutil.copy(split.parts[0], tmp_path / name)
    with pytest.raises(ConselfError, match=r"part 1 of 4 .* must end with -00001-of-00004\.gguf"):
        load_model_file(tmp_path / name)


def test_parts_are_found_through_links_to_them_and_behind_a_link(split: ModelFile, tmp_path: Path) -> None:
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshot"
    blobs.mkdir()
    snapshot.mkdir()
    for n, part in enumerate(split.parts):
        shutil.copy(part, blobs / f"blob{n}")
        (snapshot / part.name).symlink_to(blobs / f"blob{n}")
    linked = load_model_file(snapshot / split.parts[1].name)
    assert linked.parts == tuple(snapshot / part.name for part in split.parts) and linked.sha256 == split.sha256
    (tmp_path / "current.gguf").symlink_to(split.parts[0])
    assert load_model_file(tmp_path / "current.gguf") == split


def test_parts_that_do_not_belong_together_are_refused(split: ModelFile, tmp_path: Path) -> None:
    first, second, third, last = split.parts
    kept = third.read_bytes()
    shutil.copy(second, third)
    with pytest.raises(ConselfError, match=r"00003-of-00004\.gguf is not part 3 of 4"):
        load_model_file(first)
    third.write_bytes(kept[:100])
    with pytest.raises(ConselfError, match=r"00003-of-00004\.gguf is damaged or cut short"):
        load_model_file(first)
    third.write_bytes(kept)
    (tmp_path / "other").mkdir()
    other = write_tiny_model(tmp_path / "other/four.gguf", tensors_per_part=6, tied=False)
    shutil.copy(other.parts[3], last)
    with pytest.raises(ConselfError, match=r"do not belong together: they hold 21 tensors, .* states 20"):
        load_model_file(first)


@pytest.mark.parametrize(("number", "count"), [(0, 60_000), (5, 4), (0, 257)])
def test_impossible_numbers_of_parts_are_refused(split: ModelFile, number: int, count: int) -> None:
    whole = bytearray(split.path.read_bytes())
    for key, value in ((b"split.no", number), (b"split.count", count)):
        struct.pack_into("<H", whole, whole.index(key) + len(key) + 4, value)
    split.path.write_bytes(whole)
    with pytest.raises(ConselfError, match="at most 256 are possible"):
        load_model_file(split.path)


def test_a_file_whose_name_only_looks_like_a_part_is_a_whole_model(tmp_path: Path) -> None:
    model = write_tiny_model(tmp_path / "tiny.gguf")
    for name in ("a-00001-of-00002.gguf", "b-00001-of-00001.gguf"):
        shutil.copy(model.path, tmp_path / name)
        assert load_model_file(tmp_path / name).parts == (tmp_path / name,)


def test_a_split_model_is_listed_once_under_its_name(tmp_path: Path) -> None:
    folder = tmp_path / ".lmstudio/models/a/b"
    folder.mkdir(parents=True)
    write_tiny_model(folder / "coder.gguf", tensors_per_part=6)
    broken = write_tiny_model(folder / "broken.gguf", tensors_per_part=6)
    broken.parts[0].unlink()
    for part in write_tiny_model(folder / "capitals.gguf", tensors_per_part=6).parts:
        part.rename(part.with_suffix(".GGUF"))
    rows = {row["name"]: row for row in describe_models(find_models(tmp_path)) if row["source"] == "LM Studio"}
    assert rows.keys() == {"coder", "broken", "capitals"}
    assert "its name must end with -00001-of-00004.gguf" in rows["capitals"]["what"]
    assert " in 4 parts, " in rows["coder"]["what"] and rows["coder"]["trainable"] and rows["coder"]["parts"] == 4
    assert not rows["broken"]["usable"] and "broken-00001-of-00004.gguf is missing" in rows["broken"]["what"]


@pytest.mark.model
@pytest.mark.parametrize("weights_format", ["shipped", "F16"])
def test_an_adapter_is_merged_into_a_split_model_as_into_the_whole_one(tmp_path: Path, weights_format: str) -> None:
    whole = write_tiny_model(tmp_path / "whole.gguf")
    split = write_tiny_model(tmp_path / "split.gguf", tensors_per_part=6)
    adapter = tmp_path / "adapter.gguf"
    write_gguf(random_adapter(whole, 0.1), whole, adapter)
    merged = {}
    for model in (whole, split):
        target = tmp_path / f"merged-{model.path.name}"
        merge_adapter(model, adapter, target, weights_format, tmp_path / "cache")
        assert load_model_file(target).parts == (target,), "it is no part of a split model"
        merged[model.path] = {tensor.name: tensor.data.tobytes() for tensor in open_gguf(target).tensors}
    assert merged[whole.path] == merged[split.path]
