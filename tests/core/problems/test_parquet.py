"""Parquet files are read as the same sets in JSON lines are, in a child with limits; without pyarrow one line says so."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from conself_local.errors import ConselfError
from conself_local.problems.load import read_problems
from conself_local.problems.problem import Problem
from conself_local.problems.records import json_records
from sandbox import Limits, Sandbox
from tests.core.problems.test_importing import WHOLE

PICKLE = "gASVpickle" * 1000


def _sandbox(limits: Limits) -> Sandbox:
    return Sandbox(limits, workers=1)


def _write(path: Path, rows: list[dict[str, Any]], **options: Any) -> Path:
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(arrow.Table.from_pylist(rows), path, **options)
    return path


MORE = [pytest.param(name, marks=pytest.mark.round) for name in ("human_eval", "apps", "taco")]


@pytest.mark.parametrize("name", ["mbpp", "evalplus", "livecodebench", *MORE])
def test_a_published_set_is_the_same_in_parquet_and_in_json_lines(name: str, tmp_path: Path) -> None:
    row = {key: value for key, value in WHOLE[name].items() if key not in ("base_input", "plus_input")}
    if name == "evalplus":  # a test with the inputs in it, as Hugging Face shows them
        row["test"] = (
            "def check(candidate):\n    inputs = [[1, 2]]\n    for i, x in enumerate(zip(inputs, results)): pass\n"
        )
    (tmp_path / "set.jsonl").write_text(json.dumps(row))
    path = _write(tmp_path / "set.parquet", [row])
    (problem,) = read_problems(path, _sandbox)
    assert isinstance(problem, Problem) and [problem] == list(read_problems(tmp_path / "set.jsonl", _sandbox))


def test_rows_are_read_in_batches_and_the_pickles_of_private_tests_are_not(tmp_path: Path) -> None:
    rows = [{"question_id": str(i), "private_test_cases": PICKLE, "n": [i, None], "x": 1.5} for i in range(100)]
    path = _write(tmp_path / "set.parquet", rows, row_group_size=30)
    found = [record for _, record in json_records(path)]
    assert found == [{key: row[key] for key in ("question_id", "n", "x")} for row in rows]


@pytest.mark.parametrize("part", [lambda raw: raw[:200], lambda raw: raw[:-12] + b"\xff\xff\xff\x7f" + raw[-8:-4] + b"PAR1",
                                  lambda raw: raw[:20] + b"\xff" * 200 + raw[220:], lambda raw: b"PAR1",
                                  lambda raw: raw[:-8] + b"\xff\xff\xff\x7fPAR1", lambda raw: b"PAR1" + bytes(8) + b"PAR1"])  # fmt: skip
def test_a_damaged_file_is_refused_in_one_line(part: Any, tmp_path: Path) -> None:
    path = _write(tmp_path / "set.parquet", [WHOLE["mbpp"]] * 50)
    path.write_bytes(part(path.read_bytes()))
    with pytest.raises(ConselfError, match="cannot be read: ") as raised:
        list(json_records(path))
    assert "\n" not in raised.value.message


def test_a_file_that_unpacks_to_far_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two kilobytes of Parquet may be a gigabyte of text; a dictionary hides it even from the file's own description."""
    monkeypatch.setattr("conself_local.problems.records.MAX_RECORD_BYTES", 100_000)
    claimed = _write(tmp_path / "claimed.parquet", [{"q": "a" * 50_000}] * 40, compression="zstd", use_dictionary=False)
    with pytest.raises(ConselfError, match="claims to unpack to more than 200 times its size"):
        list(json_records(claimed))
    hidden = _write(tmp_path / "hidden.parquet", [{"q": "a" * 50_000}] * 400, compression="zstd")
    with pytest.raises(ConselfError, match="it unpacks to more than 200 times its size"):
        list(json_records(hidden))


def test_a_row_that_is_too_long_leaves_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("conself_local.problems.records.MAX_RECORD_BYTES", 5000)
    path = _write(tmp_path / "set.parquet", [{"q": "short"}, {"q": "é" * 5000}, {"q": "last"}], compression="none")
    first, second, third = (record for _, record in json_records(path))
    assert first == {"q": "short"} and third == {"q": "last"}
    assert not isinstance(second, dict) and second.line == 2 and "longer than 5000 bytes" in second.why


def test_without_pyarrow_one_line_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "set.parquet").write_bytes(b"PAR1")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConselfError, match="pyarrow is not installed") as raised:
        list(json_records(tmp_path / "set.parquet"))
    assert raised.value.hint == "install it with: pip install 'conself-local[parquet]'"
