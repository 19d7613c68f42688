"""The fast reader gives the same fields and tensors as the gguf package's reader, and refuses damaged files."""

from __future__ import annotations

import struct
from pathlib import Path

import gguf
import numpy as np
import pytest

from conself_local.errors import ConselfError
from conself_local.model_files.bundled import bundled_model
from conself_local.model_files.gguf_reader import GgufReader
from conself_local.model_files.model_file import load_model_file
from tests.fakes.tiny_model import write_tiny_model

KEY = b"tokenizer.ggml.tokens"


def _write_arrays(path: Path, endianess: gguf.GGUFEndian = gguf.GGUFEndian.LITTLE) -> Path:
    writer = gguf.GGUFWriter(str(path), "llama", endianess=endianess)
    for key, values in (
        ("strings", ["", "a", "größer", "x" * 300]),
        ("ints", [3, -1, 2**30]),
        ("floats", [0.5, -1e30]),
        ("bools", [True, False]),
        ("bytes", bytes(range(5))),
    ):
        writer.add_array(f"some.{key}", values)
    writer.add_string("after.arrays", "read on from the right place")
    writer.add_tensor("t", np.arange(8, dtype=np.float32).reshape(2, 4))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _assert_alike(path: Path) -> None:
    ours, theirs = GgufReader(path), gguf.GGUFReader(path)
    assert list(ours.fields) == list(theirs.fields)
    for key, field in theirs.fields.items():
        assert (ours.fields[key].contents(), ours.fields[key].types) == (field.contents(), field.types), key
    assert [(t.name, t.data_offset, t.n_bytes) for t in ours.tensors] == [
        (t.name, t.data_offset, t.n_bytes) for t in theirs.tensors
    ]
    assert len(ours.tensors) > 0


@pytest.mark.model
def test_fields_and_tensors_equal_those_of_the_package(tmp_path: Path) -> None:
    _assert_alike(bundled_model())
    _assert_alike(_write_arrays(tmp_path / "little.gguf"))
    _assert_alike(_write_arrays(tmp_path / "big.gguf", gguf.GGUFEndian.BIG))


@pytest.mark.parametrize(("kind", "count"), [(8, 2**40), (8, 2**20), (5, 2**40), (5, 2**20), (77, 1)])
def test_an_array_of_an_impossible_type_or_length_is_refused(tmp_path: Path, kind: int, count: int) -> None:
    path = write_tiny_model(tmp_path / "m.gguf").path
    whole = bytearray(path.read_bytes())
    place = whole.index(KEY) + len(KEY) + 4
    assert struct.unpack_from("<IQ", whole, place) == (8, 96), "an array of 96 strings"
    struct.pack_into("<IQ", whole, place, kind, count)
    path.write_bytes(whole)
    with pytest.raises(ConselfError, match="damaged or cut short"):
        load_model_file(path)


def test_a_file_that_ends_anywhere_in_an_array_is_refused(tmp_path: Path) -> None:
    path = write_tiny_model(tmp_path / "m.gguf").path
    whole = path.read_bytes()
    begin = whole.index(KEY) + len(KEY)
    for keep in (*range(begin, begin + 40), begin + 300):
        path.write_bytes(whole[:keep])
        with pytest.raises(ConselfError, match="damaged or cut short"):
            load_model_file(path)
