"""Records are read from every shape of JSON file, and a record that cannot be read never harms another one."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from conself_local.errors import ConselfError
from conself_local.problems import records
from conself_local.problems.json_values import JsonValues
from conself_local.problems.load import load_problems
from conself_local.problems.records import Fault, json_records
from sandbox import Limits, Sandbox

FIRST: dict[str, Any] = {
    "id": "a", "statement": "Say \"{[,\\é", "kind": "stdin", "split": "train", "inputs": ["1\n", "]},{\\"],
}  # fmt: skip
SECOND = FIRST | {"id": "b", "inputs": []}
BOTH = [FIRST, SECOND]
LINES = json.dumps(FIRST, ensure_ascii=False) + "\r\n\n" + json.dumps(SECOND) + "\n"
SHAPES = {
    "lines": LINES,
    "array": json.dumps(BOTH),
    "array of lines": "[\n" + ",\n".join(map(json.dumps, BOTH)) + "\n]\n",
    "array whose brackets stand in the lines": f"[{json.dumps(FIRST)},\n{json.dumps(SECOND)}]",
    "array whose commas come first": f"[{json.dumps(FIRST)}\n,{json.dumps(SECOND)}\n]",
    "indented array": json.dumps(BOTH, indent=2),
    "lines of files that were put together": f"{json.dumps(FIRST)}\n\ufeff{json.dumps(SECOND)}\n",
    "one after another, indented, as jq prints them": json.dumps(FIRST, indent=2) + "\n" + json.dumps(SECOND, indent=2),
    "wrapped": json.dumps({"version": 1, "features": [{"name": "id"}], "data": BOTH, "count": 2}),
    "wrapped and indented": json.dumps({"version": [1], "problems": BOTH}, indent=1),
    "wrapped, each in a line": '{"data": [\n' + ",\n".join(map(json.dumps, BOTH)) + "\n]}",
    "wrapped by splits": json.dumps({"train": [FIRST], "test": [SECOND]}),
    "rows of the viewer": json.dumps({"features": [], "rows": [{"row_idx": 0, "row": FIRST}, {"row_idx": 1, "row": SECOND}]}),
}  # fmt: skip
ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be")


def _sandbox(limits: Limits) -> Sandbox:
    return Sandbox(limits, workers=1)


def _read(path: Path, content: bytes) -> list[Any]:
    path.write_bytes(content)
    return [one for _, one in json_records(path)]


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_in_every_encoding_gives_the_same_records(shape: str, tmp_path: Path) -> None:
    """Files of PowerShell are UTF-16, those of Windows editors begin with a mark, and many wrap their list."""
    for encoding in ENCODINGS:
        content = SHAPES[shape].encode(encoding)
        assert _read(tmp_path / "a.json", content) == BOTH, encoding
        assert _read(tmp_path / "a.json.gz", gzip.compress(content)) == BOTH, encoding
    assert _read(tmp_path / "gzip-without-its-name.jsonl", gzip.compress(SHAPES[shape].encode())) == BOTH


@pytest.mark.parametrize("shape", SHAPES)
def test_a_shape_is_split_alike_however_it_is_cut_into_chunks(shape: str) -> None:
    if shape.startswith("lines"):
        return
    text = SHAPES[shape].encode()
    for size in (1, 2, 3, 7, 64):
        split = JsonValues(10_000, 10_000).split(text[i : i + size] for i in range(0, len(text), size))
        found = [json.loads(value or b"") for value in split]
        assert [one.get("row", one) for one in found] == BOTH, size


def test_one_bad_item_of_an_array_leaves_the_others(tmp_path: Path) -> None:
    """An array was parsed as a whole, so one integer of 5,000 digits or one missing quote ended its import."""
    bad = ["9" * 5000, '{"id": 1 2}', "NaN", "5", '{"id": "' + "x" * 200 + '"}', '"\\u"']
    found = _read(tmp_path / "a.json", f"[{json.dumps(FIRST)},{','.join(bad)},{json.dumps(SECOND)}]".encode())
    assert [found[0], found[-1]] == BOTH and len(found) == 8
    assert "more than 4300 digits" in found[1].why and "not valid JSON" in found[2].why
    wrapped = _read(tmp_path / "a.json", f'{{"data": [{json.dumps(FIRST)}, {{"n": {bad[0]}}}]}}'.encode())
    assert wrapped[0] == FIRST and "more than 4300 digits" in wrapped[1].why


def test_an_array_may_be_larger_than_a_record_may_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only arrays of at most one record's size were read."""
    monkeypatch.setattr(records, "MAX_RECORD_BYTES", 500)
    many = [FIRST | {"id": str(number)} for number in range(200)]
    large = FIRST | {"inputs": ["x" * 600]}
    for content in (json.dumps([*many, large, FIRST]), json.dumps({"data": [*many, large, FIRST]})):
        for name, data in (("a.json", content.encode()), ("a.json.gz", gzip.compress(content.encode(), 0))):
            found = _read(tmp_path / name, data)
            assert found[:200] == many and found[201] == FIRST
            assert isinstance(found[200], Fault) and found[200].line == 201 and "longer than 500" in found[200].why


def test_a_broken_first_line_does_not_make_json_lines_another_file(tmp_path: Path) -> None:
    for first in ("[" * 5000, "{", "[1, 2]", '{"id": "cut', "\x1b]0;x", "NaN"):
        found = _read(tmp_path / "a.jsonl", f"{first}\n{LINES}".encode())
        assert isinstance(found[0], Fault) and found[1:] == BOTH, first


@pytest.mark.parametrize("cut", range(5, 200, 13))
def test_a_file_that_was_cut_off_gives_its_whole_records_and_a_fault(cut: int, tmp_path: Path) -> None:
    content = json.dumps(BOTH)
    found = _read(tmp_path / "a.json", content[:cut].encode())
    assert isinstance(found[-1], Fault) and found[:-1] == BOTH[: len(found) - 1]


def test_what_is_not_text_of_json_is_refused_with_what_to_do(tmp_path: Path) -> None:
    for content, says in (
        (b"PK\x03\x04rest", "packed by zip; unpack it first"),
        (b"\x28\xb5\x2f\xfdrest", "packed by zstd"),
        ("[{}]".encode("utf-16")[:-1], "truncated data"),
        (gzip.compress(b"[" + b" " * 40_000_000 + b"]"), "unpacks to more than"),
    ):
        with pytest.raises(ConselfError, match=says):
            _read(tmp_path / "a.json", content)
    (fault,) = _read(tmp_path / "a.jsonl", json.dumps(FIRST, ensure_ascii=False).encode("latin-1"))
    assert fault.why == "not UTF-8 text; save the file as UTF-8"
    assert _read(tmp_path / "empty.json", b"") == [] == _read(tmp_path / "empty.json", b" \n")


def test_a_list_under_an_unusual_name_is_refused_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps({"exercises": BOTH}))
    with pytest.raises(ConselfError, match="save the list 'exercises' itself as a JSON array"):
        load_problems(tmp_path / "a.json", _sandbox)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_toml_is_read_in_every_encoding_that_editors_write(encoding: str, tmp_path: Path) -> None:
    text = '[[problem]]\nstatement = "Écho."\ninputs = ["1"]\nid = 7\n'
    (tmp_path / "a.toml").write_bytes(text.encode(encoding))
    (problem,) = load_problems(tmp_path / "a.toml", _sandbox).problems
    assert (problem.id, problem.statement) == ("7", "Écho.")
