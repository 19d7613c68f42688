"""Extract a program, observations or test inputs from the text of a completion. Nothing is executed."""

from __future__ import annotations

import ast
import re

from conself_local.foreign_files import PARSER_ERRORS
from sandbox.values import check_plain

_OPENING = re.compile(r"```[ \t]*(?:python3?|py)[ \t]*\r?\n", re.IGNORECASE)
_CLOSING = re.compile(r"(?:^|\n)[ \t]*```")
_OBSERVATION = re.compile(
    r"^\W*observation\s*#?\s*\d+\s*[:.\)-]?\W*?$|^\W*observation\s*#?\s*\d+\s*[:.\)-]\s*", re.IGNORECASE | re.MULTILINE
)

_MAX_CALL_LINES = 64
_MAX_CALL_CHARACTERS = 2_000


def extract_program(answer: str) -> str | None:
    """Return the code of the first ```python block, or None if there is none or it is empty.

    An unclosed block extends to the end of the answer. What a model thought before `</think>` is no part of it.
    `extract_program("Here:\\n```python\\nx = 1\\n```\\nDone.")` -> `"x = 1\\n"`.
    """
    answer = answer.rpartition("</think>")[2]
    opening = _OPENING.search(answer)
    if opening is None or answer.lstrip().startswith("<think>"):
        return None
    body = answer[opening.end() :]
    closing = _CLOSING.search(body)
    code = body[: closing.start()] if closing else body
    code = code.rstrip()
    return code + "\n" if code.strip() else None


def block_is_closed(answer: str) -> bool:
    """Return whether the answer has a ```python block and the first one has its closing fence."""
    opening = _OPENING.search(answer)
    return opening is not None and _CLOSING.search(answer, opening.end() - 1) is not None


def parse_observations(text: str, wanted: int) -> list[str] | None:
    """Return the first `wanted` observations of the form `Observation 1:` newline text; None if there are fewer.

    Fenced code is removed, because code is not an observation. Each observation is cut at 600 characters.
    """
    marks = list(_OBSERVATION.finditer(text))
    bodies = []
    for i, mark in enumerate(marks):
        end = marks[i + 1].start() if i + 1 < len(marks) else len(text)
        body = re.sub(r"```.*?(```|\Z)", "", text[mark.end() : end], flags=re.DOTALL)
        body = body.strip().strip("*#").strip()
        if body:
            bodies.append(body[:600])
    return bodies[:wanted] if len(bodies) >= wanted else None


def parse_calls(text: str, entry_point: str) -> list[tuple[object, ...]]:
    """Return the arguments of the calls of a function in a text, at most one call per line.

    Calls with keyword arguments, or with arguments that are not literals of plain values, are skipped. At most the
    first 64 lines are read, and lines of more than 2,000 characters are skipped. The class of a method is ignored:
    `Solution.add` is found as `add`.
    `parse_calls("1. add(1, 2)\\nadd(x)", "add")` -> `[(1, 2)]`.
    """
    name = entry_point.rpartition(".")[2]
    found = []
    for line in text.splitlines()[:_MAX_CALL_LINES]:
        start = line.find(f"{name}(")
        if start < 0 or len(line) > _MAX_CALL_CHARACTERS:
            continue
        for end in (i + 1 for i in range(len(line) - 1, start, -1) if line[i] == ")"):
            try:
                call = ast.parse(line[start:end], mode="eval").body
                if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and not call.keywords:
                    arguments = tuple(ast.literal_eval(argument) for argument in call.args)
                    check_plain(arguments)
                    found.append(arguments)
                break
            except PARSER_ERRORS:
                continue
    return found
