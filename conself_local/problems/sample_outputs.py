"""Take sample outputs and the explanations of samples out of the statements of competition problems.

A statement is read as parts, each under a label such as `-----Output-----`, `Sample Output 1` or `Output: 3`. A part
`Output` describes the form of outputs until examples with inputs have begun.
Not covered: samples without labels.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

_TITLE = (
    r"(?:sample |example |expected )?(?:in|out)puts?(?: (?:sample|example)s?)?(?: for)?(?: [a-z0-9])?"
    r"|samples?|examples?|(?:test ?)?cases?|explanations?|notes?|constraints?|limits?|scoring|sub ?tasks?|restrictions"
    r"|follow[- ]?up|your task|expected (?:time|auxiliary|space)\b[^:]*"
)
_HEADING = re.compile(rf"^\W*+(?P<title>{_TITLE})\W*+\d*+\W*+$", re.IGNORECASE)
"""A line that is only a label, such as `-----Sample Output 1-----`."""
_LABELLED = re.compile(
    rf"^\W*+(?P<title>{_TITLE}|returns?|answer|expected|result) ?\d{{0,3}}[*_`]{{0,3}}[:=]\s*+\S", re.IGNORECASE
)
"""A label with its text behind it, such as `Output: 3`."""
_TAG = re.compile(r"</?\w{1,10}>")
_OUTPUT_BEHIND_INPUT = re.compile(r"[,;]?\s{0,10}\boutput\s{0,10}[:=]", re.IGNORECASE)
_OF_EXAMPLES = re.compile(
    r"\b(?:in|for) (?:the |this )?(?:(?:first|second|third|last|above|\w+th) )?(?:sample|example|test ?case)\b",
    re.IGNORECASE,
)
_OUTPUTS = ("output", "outputs", "returns", "return", "answer", "expected", "result")


@dataclass
class _Part:
    title: str
    """In lower case; empty for text without a label."""
    level: int
    """Number of `#` before the label; 0 for a label without any."""
    lines: list[str] = field(default_factory=list)


def without_samples(lines: Iterable[str]) -> Iterator[str]:
    """Yield the lines without the outputs and explanations of samples."""
    examples_level: int | None = None
    has_input = False
    for part in _parts(lines):
        title = part.title
        if examples_level and part.level and part.level <= examples_level:
            examples_level, has_input = None, False  # a heading beside or above that of the examples
        if title.startswith(("sample", "example", "case", "test")):
            examples_level = part.level if examples_level is None else examples_level
        has_input = has_input or (examples_level is not None and "input" in title)
        if title.startswith("note"):
            yield from map(_without_explanations, part.lines)
        elif not _is_output(title, in_examples=examples_level is not None and has_input):
            yield from map(_without_output_behind, part.lines) if "input" in title else part.lines
        elif not part.lines[-1].strip():
            yield ""


def _is_output(title: str, *, in_examples: bool) -> bool:
    if re.search(r"\boutputs?\b", title) and re.search(r"\b(?:sample|example|expected)", title):
        return True
    return in_examples and (title.split(" ")[0] in _OUTPUTS or title.startswith("explanation"))


def _parts(lines: Iterable[str]) -> Iterator[_Part]:
    """Yield the parts of a statement; a part whose text stands behind its label ends at a blank line."""
    part, is_short = _Part("", 0), False
    for line in lines:
        bare = _TAG.sub("", line) if "<" in line else line
        heading, labelled = _HEADING.match(bare), _LABELLED.match(bare)
        label = labelled or heading
        if label:
            yield part
            title = " ".join(label["title"].lower().split())
            part, is_short = _Part(title, len(bare) - len(bare.lstrip("#"))), labelled is not None
        part.lines.append(line)
        if is_short and not line.strip():
            yield part
            part, is_short = _Part("", 0), False
    yield part


def _without_output_behind(line: str) -> str:
    """Return `Input: 2` of `Input: 2, Output: 4`."""
    behind = _OUTPUT_BEHIND_INPUT.search(line)
    return line[: behind.start()] if behind and behind.start() else line


def _without_explanations(line: str) -> str:
    """Return a line of a note without the sentences that explain a sample."""
    if not _OF_EXAMPLES.search(line):
        return line
    return " ".join(part for part in re.split(r"(?<=[.!?])\s+", line) if not _OF_EXAMPLES.search(part))
