"""Define a problem: a statement and test *inputs*, and never an expected output on a training problem.

A `reference` (a program known to be correct) is allowed on validation and held-out problems only. There, a program is
judged by the reference's outputs on the inputs.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import Literal

from conself_local.foreign_text import is_encodable
from conself_local.problems.literals import MAX_LITERALS_CHARACTERS, input_text
from sandbox.values import UnusableInputError

Kind = Literal["function", "stdin"]
Split = Literal["train", "validation", "held-out"]
SPLITS: tuple[Split, ...] = ("train", "validation", "held-out")

_ENTRY_POINT = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)?")
MAX_STATEMENT_CHARACTERS = 20_000
MAX_INPUTS = 1_000


@dataclass(frozen=True)
class Problem:
    """One problem. Raises ValueError if a value is not allowed, UnusableInputError if an input is not."""

    id: str
    statement: str
    kind: Kind
    inputs: tuple[object, ...]
    """`function`: tuples of arguments; `stdin`: the text on standard input."""
    split: Split
    entry_point: str = ""
    """`function` only: a name, or `Class.method` of a class whose constructor needs no arguments."""
    starter_code: str = ""
    """`function` only: the first lines of the answer, up to the colon of the `def`."""
    reference: str | None = None
    """A whole program that solves the problem; None on every training problem."""
    origin: str = ""
    """The set that the problem is from, e.g. `MBPP`, or the place in the user's code."""
    licence: str = ""

    def __post_init__(self) -> None:
        for name in ("id", "statement", "entry_point", "starter_code", "reference", "origin", "licence"):
            value = getattr(self, name)
            if not isinstance(value, str) and not (name == "reference" and value is None):
                raise ValueError(f"{name} must be text")
            if not is_encodable(value or ""):
                raise ValueError(f"{name} holds half of a surrogate pair, which is no character")
        if not self.id or len(self.id) > 200:
            raise ValueError("id must have 1 to 200 characters")
        if not self.statement.strip() or len(self.statement) > MAX_STATEMENT_CHARACTERS:
            raise ValueError(f"statement must have 1 to {MAX_STATEMENT_CHARACTERS} characters")
        if self.split not in SPLITS:
            raise ValueError(f"split must be one of {', '.join(SPLITS)}, not {self.split!r}")
        if self.kind not in ("function", "stdin"):
            raise ValueError(f"kind must be function or stdin, not {self.kind!r}")
        if not 1 <= len(self.inputs) <= MAX_INPUTS:
            raise ValueError(f"inputs must be 1 to {MAX_INPUTS} in number, not {len(self.inputs)}")
        if self.split == "train" and self.reference is not None:
            raise ValueError("a training problem must have no reference: training never sees a correct answer")
        if self.kind == "function":
            if not _ENTRY_POINT.fullmatch(self.entry_point):
                raise ValueError(f"entry_point must be a name or Class.method, not {self.entry_point[:60]!r}")
            if not all(isinstance(i, tuple) for i in self.inputs):
                raise ValueError("every input of a function problem must be a tuple of arguments")
        elif not all(isinstance(i, str) for i in self.inputs):
            raise ValueError("every input of a stdin problem must be text")
        # raises UnusableInputError for what no program can be given
        characters = sum(len(input_text(value)) for value in self.inputs)
        if self.kind == "function" and characters > MAX_LITERALS_CHARACTERS:
            raise UnusableInputError(f"its inputs hold more than {MAX_LITERALS_CHARACTERS} characters together")

    def content_hash(self) -> str:
        """Return the hash of everything that sampling, execution and judging depend on, 32 hex digits."""
        content = [self.statement, self.kind, self.entry_point, self.starter_code, self.reference, repr(self.inputs)]
        return hashlib.sha256(b"problem\0" + json.dumps(content).encode()).hexdigest()[:32]
