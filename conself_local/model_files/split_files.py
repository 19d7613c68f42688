"""Find the parts of a split model: `coder-00001-of-00003.gguf` and so on, the names that llama.cpp gives and expects.

Any part stands for the whole model. Only names are used here; what the parts hold is checked in `gguf_file.py`.
Source: llama.cpp, `llama_split_path` and tools/gguf-split; read and restated.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from conself_local.errors import ConselfError

MAX_PARTS = 256
_NAMED = 3
"""Number of missing parts that a message names."""
_PART_NAME = re.compile(r"(?P<model>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf", re.DOTALL)
_PIECE_NAME = re.compile(r"\.gguf[._-]?(part|split|chunk)|\.part\d+of\d+", re.IGNORECASE)


@dataclass(frozen=True)
class PartName:
    """The name of a part."""

    model: str
    """Name of the model: what all parts' names begin with."""
    number: int
    """Which part it is, from 1."""
    count: int

    @classmethod
    def parse(cls, name: str) -> PartName | None:
        """Return what a file's name says, or None if it is not the name of a part."""
        found = _PART_NAME.fullmatch(name)
        if found is None or not 1 <= int(found["number"]) <= int(found["count"]):
            return None
        return cls(found["model"], int(found["number"]), int(found["count"]))

    @classmethod
    def model_of(cls, path: Path) -> str:
        """Return the name of the model in a file: the file's name without its suffix and without the part's number."""
        part = cls.parse(f"{path.stem}.gguf")
        return part.model if part else path.stem

    def name_of(self, number: int) -> str:
        """Return the file name of another part of the same model."""
        return f"{self.model}-{number:05d}-of-{self.count:05d}.gguf"


def find_parts(path: Path, number: int, count: int) -> tuple[Path, ...]:
    """Return the files of all parts in order.

    path: part `number`, from 1, of `count`, as its metadata state. The folder of a link is searched before the folder
    of its target, because a cache of downloads keeps parts under names of its own. The last name is never resolved.
    Raises ConselfError, which names the missing parts, or what the name of a part must be.
    """
    refusal = None
    for place in (path.parent.resolve() / path.name, path.resolve()):
        name = PartName.parse(place.name)
        if name is None or (name.number, name.count) != (number, count):
            continue
        parts = tuple(place.with_name(name.name_of(n)) for n in range(1, count + 1))
        missing = [part.name for part in parts if not part.is_file()]
        if not missing:
            return parts
        refusal = refusal or _missing(place, name, missing)
    raise refusal or ConselfError(
        f"{path.name} is part {number} of {count} of a split model, so its name must end with "
        f"-{number:05d}-of-{count:05d}.gguf",
        f"give all parts the names that llama.cpp expects: MODEL-00001-of-{count:05d}.gguf and so on",
    )


def is_piece(name: str) -> bool:
    """Return whether a name is that of a piece that was cut off a file, as in `coder.gguf.part1of2`."""
    return _PIECE_NAME.search(name) is not None


def _missing(place: Path, name: PartName, missing: list[str]) -> ConselfError:
    named = ", ".join(missing[:_NAMED]) + (f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else "")
    return ConselfError(
        f"the model {name.model} is split into {name.count} parts, and {named} "
        f"{'is' if len(missing) == 1 else 'are'} missing in {place.parent}",
        "download all parts into one folder, under their own names",
    )
