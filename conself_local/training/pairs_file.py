"""Write and read preference pairs as JSON lines: `{"prompt", "chosen", "rejected", "weight", "conself"}`.

The three texts are plain strings, the form that TRL, Unsloth (which trains with TRL) and LLaMA-Factory all read: TRL's
standard format, and LLaMA-Factory's alpaca format. `prompt` is the prompt as the model reads it, with its chat template
rendered and the answer prefix at its end. The weight is the factor of the preference term, which these tools ignore.
`conself` is ours and ignored by the others: token ids, the hash of the tokenizer that made them, and the settings of
the training, so that training here repeats that of the round exactly.
Covered: limits for files from elsewhere, and errors that name the line. Not covered: whether the token ids fit their
texts (`stages/train_pairs.py`), and conversations as lists of messages, which are refused.
Sources: TRL, dataset formats; LLaMA-Factory, data/README.md; read and restated.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from io import BufferedIOBase
from pathlib import Path
from typing import Any

from conself_local.errors import ConselfError
from conself_local.foreign_files import open_regular, refusing, unpacking
from conself_local.foreign_text import is_encodable
from conself_local.new_files import verify_new, whole_file

MAX_FILE_BYTES = 256 * 2**20
MAX_LINE_BYTES = 8 * 2**20
MAX_PAIRS = 100_000
_MAX_LINES = 10 * MAX_PAIRS
"""Blank lines count too."""
MAX_WEIGHT = 100.0
_TEXTS = ("prompt", "chosen", "rejected")
_HINT = 'each line must be a JSON object such as {"prompt": "...", "chosen": "...", "rejected": "...", "weight": 1.0}'
_TOKENIZER = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class TokenIds:
    """The token ids of one pair, as they were sampled."""

    tokenizer: str
    """`model_files.tokenizer_hash` of the model."""
    prompt: tuple[int, ...]
    chosen: tuple[int, ...]
    rejected: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class PairRecord:
    """One line of a file of pairs."""

    prompt: str
    chosen: str
    rejected: str
    weight: float = 1.0
    ids: TokenIds | None = None
    """None: only the texts are known."""
    training: dict[str, Any] | None = None
    """How the round trained on its pairs: names and values that `stages/train_pairs.py` checks."""
    line: int = 0
    """Number of the line in its file, counted from 1."""


def write_pairs(target: Path, records: Iterable[PairRecord]) -> int:
    """Write the pairs to a new file and return their number.

    Raises ConselfError if something is at `target`, or if it cannot be written.
    """
    verify_new(target)
    count = 0
    with (
        refusing(f"{target} cannot be written", "choose another path, on a disk with free space"),
        whole_file(target, replace=False) as part,
        part.open("w", encoding="ascii") as file,
    ):
        for record in records:
            file.write(json.dumps(_content(record)) + "\n")
            count += 1
    return count


def _content(record: PairRecord) -> dict[str, Any]:
    content: dict[str, Any] = {name: getattr(record, name) for name in (*_TEXTS, "weight")}
    if record.ids:
        content["conself"] = {
            "tokenizer": record.ids.tokenizer,
            **{f"{name}_ids": list(getattr(record.ids, name)) for name in _TEXTS},
            "training": record.training,
        }
    return content


def read_pairs(path: Path) -> list[PairRecord]:
    """Return the pairs of a file, which may be packed by gzip.

    Raises ConselfError that names the line if a value is missing, wrong or too large.
    """
    records = []
    with (
        refusing(f"{path} cannot be read", "give a file of pairs, as `conself pairs --to FILE` writes it"),
        open_regular(path) as file,
    ):
        for number, line in _lines(unpacking(file), path):
            with refusing(f"{path}, line {number}", _HINT):
                records.append(_record(json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8")), number))
            if len(records) > MAX_PAIRS:
                raise ConselfError(f"{path} holds more than {MAX_PAIRS} pairs", "train on a part of it")
    if not records:
        raise ConselfError(f"{path} holds no pairs", _HINT)
    return records


def _lines(file: BufferedIOBase, path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield (number, content) of the lines that are not blank. Raises ConselfError beyond the limits."""
    number = total = 0
    while line := file.readline(MAX_LINE_BYTES + 1):
        number, total = number + 1, total + len(line)
        if number > _MAX_LINES:
            raise ConselfError(f"{path} has more than {_MAX_LINES} lines", "split the file")
        if len(line) > MAX_LINE_BYTES or total > MAX_FILE_BYTES:
            what = f"line {number} of {path}" if len(line) > MAX_LINE_BYTES else str(path)
            most = MAX_LINE_BYTES if len(line) > MAX_LINE_BYTES else MAX_FILE_BYTES
            raise ConselfError(f"{what} is larger than the limit of {most >> 20} MiB", "split the file, or shorten it")
        if line.strip():
            yield number, line


def _record(content: Any, line: int) -> PairRecord:
    """Return the record of a parsed line. Raises ValueError that names the field at fault."""
    if not isinstance(content, dict):
        raise ValueError("it is not a JSON object")
    prompt, chosen, rejected = (_text(content, name) for name in _TEXTS)
    weight = content.get("weight", 1.0)
    if type(weight) not in (int, float) or not math.isfinite(weight) or not 0 <= weight <= MAX_WEIGHT:
        raise ValueError(f"weight must be a number from 0 to {MAX_WEIGHT:g}, not {weight!r:.40}")
    own = content.get("conself")
    if own is None:
        if chosen == rejected:
            raise ValueError("chosen and rejected are equal")
        return PairRecord(prompt=prompt, chosen=chosen, rejected=rejected, weight=float(weight), line=line)
    if not isinstance(own, dict) or not isinstance(own.get("training"), dict | None):
        raise ValueError("conself must be what `conself pairs --to` wrote; remove it to train on the texts")
    ids = _token_ids(own)
    if ids.chosen == ids.rejected:
        raise ValueError("chosen and rejected are equal")
    return PairRecord(
        prompt=prompt,
        chosen=chosen,
        rejected=rejected,
        weight=float(weight),
        ids=ids,
        training=own.get("training"),
        line=line,
    )


def _text(content: dict[str, Any], name: str) -> str:
    value = content.get(name)
    if isinstance(value, list):
        raise ValueError(f"{name} is a list of messages; write it as one text, with the chat template rendered")
    if not isinstance(value, str):
        raise ValueError(f"{name} must be a text" if name in content else f"{name} is missing")
    if not is_encodable(value):
        raise ValueError(f"{name} holds half of a surrogate pair, which is no character")
    if name == "prompt" and not value:
        raise ValueError("prompt is empty")
    return value


def _token_ids(own: dict[str, Any]) -> TokenIds:
    tokenizer = own.get("tokenizer")
    if not isinstance(tokenizer, str) or not _TOKENIZER.fullmatch(tokenizer):
        raise ValueError("conself.tokenizer must be 32 hex digits")
    found = {}
    for name in _TEXTS:
        ids = own.get(f"{name}_ids")
        if not isinstance(ids, list) or not ids or not all(type(id) is int and 0 <= id < 2**31 for id in ids):
            raise ValueError(f"conself.{name}_ids must be a list of token ids")
        found[name] = tuple(ids)
    return TokenIds(tokenizer, **found)
