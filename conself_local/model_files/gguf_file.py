"""Open a GGUF file with its metadata and its tensors; of a split model, all parts are opened.

Everything that needs tensors of a GGUF file reads them here, so that a split model is like any other. A file that is
cut short, of another byte order or no GGUF is refused with a message that says what it is. Metadata is decoded only
when it is asked for, because a text that is not needed may hold anything.
Not covered: what the metadata mean (`model_file.py`).
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from conself_local.errors import ConselfError
from conself_local.foreign_files import open_regular, reason, refusing
from conself_local.model_files.split_files import MAX_PARTS, find_parts, is_piece

if TYPE_CHECKING:
    import gguf

    from conself_local.model_files.gguf_reader import Budget

MODEL_HINT = "give the path of a GGUF file of an instruct model, for example one that LM Studio or llama.cpp runs"
_AGAIN_HINT = "download the file again"
_PIECE_HINT = "it seems to be a piece of a larger file; join the pieces in order: cat PIECE1 PIECE2 > MODEL.gguf"
_VERSIONS = (2, 3)
_OTHER_ORDER: Literal["little", "big"] = "big" if sys.byteorder == "little" else "little"
_OTHER_FILES = (
    (b"PK\x03\x04", "a PyTorch or zip file"),
    (b"version https://git-lfs", "a pointer of Git LFS; the model itself was not downloaded (`git lfs pull`)"),
    (b"<", "a web page"),
    (b"lmgg", "a GGML file, the form before GGUF"),
    (b"fmgg", "a GGML file, the form before GGUF"),
    (b"tjgg", "a GGML file, the form before GGUF"),
    (b"algg", "a LoRA adapter in the form before GGUF"),
)
"""First bytes of files that people take for GGUF files, and what they are."""


@dataclass(frozen=True)
class GgufFile:
    """A GGUF file: the metadata of its first part, and the tensors of all parts."""

    parts: tuple[Path, ...]
    """The files, in order; if the file is not split, a single one, under the path that was given."""
    fields: dict[str, gguf.ReaderField]
    tensors: list[gguf.ReaderTensor]

    def __contains__(self, key: str) -> bool:
        return key in self.fields

    def value(self, key: str, default: object = None) -> object:
        """Return the value under a key. Raises ConselfError if it is a text, or texts, and not UTF-8."""
        field = self.fields.get(key)
        if field is None:
            return default
        with refusing(f"{self.parts[0]} is damaged or cut short", _AGAIN_HINT):
            try:
                return field.contents()
            except UnicodeDecodeError as error:
                raise _not_utf8(self.parts[0], key) from error

    def text(self, key: str, default: str = "") -> str:
        """Return the text under a key, or the default if there is none. Raises ConselfError as `value` does."""
        found = self.value(key, default)
        return found if isinstance(found, str) else default

    def shown_text(self, key: str, default: str = "") -> str:
        """Return a text that is only shown, with an escape for each byte that is not UTF-8."""
        field = self.fields.get(key)
        if field is None or [kind.name for kind in field.types] != ["STRING"]:
            return default
        return bytes(field.parts[-1]).decode(errors="backslashreplace")

    def count(self, key: str) -> int:
        """Return the number of texts in an array of texts; 0 if there is no such array."""
        return len(self.fields[key].data) if self._is_texts(key) else 0

    def item(self, key: str, index: object) -> str:
        """Return one text of an array of texts, or an empty text if it has none at the index.

        Raises ConselfError if the text is not UTF-8.
        """
        if not isinstance(index, int) or not 0 <= index < self.count(key):
            return ""
        field = self.fields[key]
        try:
            return bytes(field.parts[field.data[index]]).decode()
        except UnicodeDecodeError as error:
            raise _not_utf8(self.parts[0], f"{key}, item {index}") from error

    def _is_texts(self, key: str) -> bool:
        field = self.fields.get(key)
        return field is not None and [kind.name for kind in field.types] == ["ARRAY", "STRING"]


def open_gguf(path: Path, what: str = "model") -> GgufFile:
    """Open a GGUF file by its path, or a split one by the path of any part.

    what: `model` or `adapter`, for messages. Raises ConselfError if a file is missing, unreadable, damaged or no GGUF
    file for this computer, or if the parts do not belong together.
    """
    first = _read(path, what)
    with refusing(f"{path} is damaged", f"replace the {what} file by an undamaged one"):
        number, count = _whole(first, "split.no", 0), _whole(first, "split.count", 1)
        if number >= max(count, 1) or count > MAX_PARTS:
            raise ValueError(f"it states to be part {number + 1} of {count}, and at most {MAX_PARTS} are possible")
    return first if count < 2 else _open_parts(find_parts(path, number + 1, count), what)


def _open_parts(paths: tuple[Path, ...], what: str) -> GgufFile:
    from conself_local.model_files.gguf_reader import Budget

    budget = Budget()
    parts = [_read(path, what, budget) for path in paths]
    for n, part in enumerate(parts):
        if (part.value("split.no"), part.value("split.count")) != (n, len(parts)):
            raise ConselfError(
                f"{paths[n]} is not part {n + 1} of {len(parts)}, as its name says",
                "download all parts again into one folder",
            )
    tensors = [tensor for part in parts for tensor in part.tensors]
    whole = GgufFile(paths, parts[0].fields, tensors)
    stated = whole.value("split.tensors.count")
    if stated != len(tensors) or len({tensor.name for tensor in tensors}) != len(tensors):
        raise ConselfError(
            f"the {len(paths)} parts of {paths[0]} do not belong together: they hold {len(tensors)} tensors, and the "
            f"first part states {stated!r:.20}",
            "download all parts of one version into one folder",
        )
    return whole


def _whole(file: GgufFile, key: str, default: int) -> int:
    value = file.value(key, default)
    if type(value) is not int or value < 0:
        raise ValueError(f"the value of {key} is not a whole number")
    return value


def _read(path: Path, what: str, budget: Budget | None = None) -> GgufFile:
    from conself_local.model_files.gguf_reader import GgufReader

    _verify_head(path, what)
    hint = _PIECE_HINT if is_piece(path.name) else f"replace the {what} file by an undamaged one"
    with refusing(f"{path} is damaged or cut short", hint):
        reader = GgufReader(path, budget)
    return GgufFile((path,), reader.fields, reader.tensors)


def _verify_head(path: Path, what: str) -> None:
    """Raise ConselfError unless the path is a GGUF file of a known version and of this computer's byte order."""
    try:
        if not path.exists():
            raise ConselfError(
                f"there is no {what} file at {path}", MODEL_HINT if what == "model" else "check the path"
            )
        if path.is_dir():
            raise _folder(path, what)
        with open_regular(path) as file:
            head = file.read(24)
    except OSError as error:
        raise ConselfError(f"{path} cannot be read: {reason(error)}", "check the file's permissions") from error
    if not head:
        raise ConselfError(f"{path} is empty", _AGAIN_HINT)
    if head[:4] != b"GGUF":
        raise _other_file(path, head)
    if len(head) < 24:
        raise ConselfError(f"{path} is cut short", _AGAIN_HINT)
    version, swapped = int.from_bytes(head[4:8], sys.byteorder), int.from_bytes(head[4:8], _OTHER_ORDER)
    if swapped in (1, *_VERSIONS):
        raise ConselfError(
            f"{path} is for {_OTHER_ORDER}-endian machines, and this computer is {sys.byteorder}-endian",
            f"get the {sys.byteorder}-endian file of the model, or convert a copy with: "
            f"gguf-convert-endian {path.name} {sys.byteorder}",
        )
    if version not in _VERSIONS:
        raise ConselfError(
            f"{path} is of GGUF version {version}, and known are {' and '.join(map(str, _VERSIONS))}",
            "get the model in a file that a llama.cpp of today writes and reads",
        )


def _other_file(path: Path, head: bytes) -> ConselfError:
    for first, kind in _OTHER_FILES:
        if head.startswith(first):
            return ConselfError(f"{path} is not a GGUF file but {kind}", MODEL_HINT)
    hint = _PIECE_HINT if is_piece(path.name) else MODEL_HINT
    return ConselfError(f"{path} is not a GGUF file (it does not begin with GGUF)", hint)


def _folder(path: Path, what: str) -> ConselfError:
    inside = sorted(entry.name for entry in path.iterdir() if entry.suffix.lower() == ".gguf")[:3]
    hint = f"give a file in it, such as {inside[0]}" if inside else MODEL_HINT
    return ConselfError(f"{path} is a folder, not a {what} file", hint)


def _not_utf8(path: Path, key: str) -> ConselfError:
    return ConselfError(
        f"the text under the key {key} of {path} is not UTF-8, and it is needed",
        "get the model from another source, or correct the key with gguf-editor-gui",
    )
