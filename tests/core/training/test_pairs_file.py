"""A file of pairs holds what other tools read, comes back as it was, and is refused by its line if it is wrong."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path
from typing import Any

import pytest

from conself_local.errors import ConselfError
from conself_local.training import pairs_file
from conself_local.training.pairs_file import PairRecord, TokenIds, read_pairs, write_pairs

IDS = TokenIds("0" * 32, (1, 2), (3, 4), (5,))
RECORD = PairRecord(
    prompt="<user>Add.\n", chosen="return 1\n", rejected="", weight=0.1 + 0.2, ids=IDS, training={"seed": 5}
)
LINE = {"prompt": "p", "chosen": "c", "rejected": "r"}


def test_a_line_holds_what_trl_llama_factory_and_unsloth_read(tmp_path: Path) -> None:
    """All three read flat strings; lists of messages are TRL's alone."""
    assert write_pairs(tmp_path / "pairs.jsonl", [RECORD, PairRecord(prompt="p", chosen="c", rejected="r")]) == 2
    first, second = (tmp_path / "pairs.jsonl").read_text().splitlines()
    values = json.loads(first)
    assert [type(values[name]) for name in ("prompt", "chosen", "rejected", "weight")] == [str, str, str, float]
    assert values["conself"]["chosen_ids"] == [3, 4] and set(json.loads(second)) == {
        "prompt",
        "chosen",
        "rejected",
        "weight",
    }


def test_pairs_come_back_exactly(tmp_path: Path) -> None:
    write_pairs(tmp_path / "pairs.jsonl", [RECORD])
    (found,) = read_pairs(tmp_path / "pairs.jsonl")
    assert found == PairRecord(**{**RECORD.__dict__, "line": 1}) and found.weight == 0.30000000000000004


def test_a_file_packed_by_gzip_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, packed = tmp_path / "pairs.jsonl.gz", gzip.compress(json.dumps(LINE).encode())
    path.write_bytes(packed)
    assert [record.prompt for record in read_pairs(path)] == ["p"]
    path.write_bytes(packed[:-9])
    with pytest.raises(ConselfError, match="cannot be read"):
        read_pairs(path)
    monkeypatch.setattr(pairs_file, "MAX_LINE_BYTES", 1000)
    path.write_bytes(gzip.compress(b" " * 10**6))
    with pytest.raises(ConselfError, match="larger than the limit"):
        read_pairs(path)


def test_an_existing_file_is_not_replaced(tmp_path: Path) -> None:
    target = tmp_path / "pairs.jsonl"
    target.write_text("mine")
    with pytest.raises(ConselfError, match="already exists"):
        write_pairs(target, [RECORD])
    assert target.read_text() == "mine" and os.listdir(tmp_path) == ["pairs.jsonl"]


def test_texts_of_other_tools_are_read(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text(
        "\ufeff" + json.dumps(LINE | {"id": 7}) + "\n\n" + json.dumps(LINE | {"weight": 2}) + "\n", encoding="utf-8"
    )
    assert [(r.weight, r.ids, r.line) for r in read_pairs(path)] == [(1.0, None, 1), (2.0, None, 3)]


OWN: dict[str, Any] = {"tokenizer": "0" * 32, "prompt_ids": [1], "chosen_ids": [2], "rejected_ids": [3]}


WRONG_LINES = [
    ("[]", "not a JSON object"),
    ("{", "Expecting property name"),
    ("[" * 100_000, "nested too deeply"),
    (json.dumps(LINE | {"prompt": ""}), "prompt is empty"),
    (json.dumps({"prompt": "p", "chosen": "c"}), "rejected is missing"),
    (json.dumps(LINE | {"chosen": 7}), "chosen must be a text"),
    (json.dumps(LINE | {"prompt": [{"role": "user", "content": "p"}]}), "prompt is a list of messages"),
    (json.dumps(LINE | {"chosen": "\ud800"}), "half of a surrogate pair"),
    (json.dumps(LINE | {"rejected": "c"}), "chosen and rejected are equal"),
    (json.dumps(LINE | {"weight": "1"}), "weight must be a number"),
    (json.dumps(LINE | {"weight": float("nan")}), "weight must be a number"),
    (json.dumps(LINE | {"weight": -1}), "weight must be a number"),
    (json.dumps(LINE | {"weight": True}), "weight must be a number"),
    (json.dumps(LINE | {"conself": 1}), "conself must be what"),
    (json.dumps(LINE | {"conself": OWN | {"tokenizer": "x"}}), "conself.tokenizer must be"),
    (json.dumps(LINE | {"conself": OWN | {"chosen_ids": []}}), "conself.chosen_ids must be"),
    (json.dumps(LINE | {"conself": OWN | {"chosen_ids": [1.0]}}), "conself.chosen_ids must be"),
    (json.dumps(LINE | {"conself": OWN | {"prompt_ids": [-1]}}), "conself.prompt_ids must be"),
    (json.dumps(LINE | {"conself": OWN | {"chosen_ids": [3]}}), "chosen and rejected are equal"),
]


@pytest.mark.parametrize(("line", "reason"), WRONG_LINES, ids=[reason for _, reason in WRONG_LINES])
def test_a_wrong_line_is_refused_by_its_number(line: str, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text(json.dumps(LINE) + "\n" + line + "\n")
    with pytest.raises(ConselfError, match=f"line 2: .*{reason}") as caught:
        read_pairs(path)
    assert len(caught.value.message) < 700 and '"prompt"' in caught.value.hint


def test_limits_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text((json.dumps(LINE) + "\n") * 3)
    monkeypatch.setattr(pairs_file, "MAX_PAIRS", 2)
    with pytest.raises(ConselfError, match="holds more than 2 pairs"):
        read_pairs(path)
    monkeypatch.setattr(pairs_file, "MAX_FILE_BYTES", 100)
    with pytest.raises(ConselfError, match=r"pairs\.jsonl is larger than the limit"):
        read_pairs(path)
    monkeypatch.setattr(pairs_file, "MAX_LINE_BYTES", 10)
    with pytest.raises(ConselfError, match=r"line 1 of .* is larger than the limit"):
        read_pairs(path)


def test_what_is_no_file_of_pairs_is_refused_at_once(tmp_path: Path) -> None:
    """A pipe would hang the reader."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "empty").write_text("\n\n")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    for name, reason in (
        ("pipe", "not a regular file"),
        ("missing", "cannot be read"),
        ("empty", "no pairs"),
        ("binary", "line 1"),
    ):
        with pytest.raises(ConselfError, match=reason):
            read_pairs(tmp_path / name)


def test_a_small_packed_file_of_blank_lines_does_not_take_minutes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pairs_file, "_MAX_LINES", 1000)
    (tmp_path / "blank.gz").write_bytes(gzip.compress(b"\n" * 2000))
    with pytest.raises(ConselfError, match="more than 1000 lines"):
        read_pairs(tmp_path / "blank.gz")
