"""Take expected outputs out of statements: training must not see them. The calls and inputs of examples stay.

Found are outputs below `>>>` examples, behind calls as in `f(2) == 4`, and under the labels of competition problems
(`Sample Output`, `Output:` in an example), with the explanations of the examples.
Not covered: outputs in words, as in "returns 3 for 2".
"""

from __future__ import annotations

import ast
import itertools
import re
from collections.abc import Iterable, Iterator, Sequence

from conself_local.problems.examples import PROMPT, calls_in_text, parsed

WITH_OUTPUTS = ", with the expected outputs of its examples"
"""Ends the origin of a problem whose statement keeps them."""
_RESULT = re.compile(
    r"\s*`*\s*(==|=>|->|-->|→|➞|⇒|=|#|//|:|(?:returns|gives|yields|is|evaluates to|must be|should be)\b)"
)
_HEADING = re.compile(
    r"^\W*(?P<title>(?:sample |example |expected )?(?:in|out)puts?|samples?|examples?|explanations?|notes?|constraints?"
    r"|limits?|scoring|sub ?tasks?|restrictions|follow[- ]?up|your task|expected (?:time|auxiliary|space)\b.*)"
    r"\W*\d*\W*$",
    re.IGNORECASE,
)
"""A line that is only a label, such as `-----Sample Output 1-----`."""
_LABELLED = re.compile(r"^\W*(?P<title>(?:in|out)puts?|explanations?)\s*\d*\W*[:=]\s*\S", re.IGNORECASE)
"""A label with its text behind it, such as `Output: 3`."""
_OF_EXAMPLES = re.compile(r"\b(samples?|examples?|test ?cases?)\b", re.IGNORECASE)


def without_outputs(statement: str, name: str = "") -> str:
    """Return a statement with its examples' calls and inputs, and without their expected outputs.

    name: the function that the problem asks for, if it asks for one. `>>> f(2)` stays and the lines below it go; of
    `f(2) == 4` and of `f(2)  # 4`, `f(2)` stays.
    """
    return "\n".join(_without_samples(_without_results(statement.splitlines(), name)))


def _without_results(lines: list[str], name: str) -> Iterator[str]:
    """Yield the lines without what follows a `>>>` example or a call."""
    in_example = False
    for line in lines:
        prompt = PROMPT.match(line)
        if prompt and (prompt["prompt"] != "..." or in_example):
            in_example = True
            yield f"{prompt['indent']}{prompt['prompt']} {_call_alone(prompt['source'] or '', name)}".rstrip()
        elif not in_example or not line.strip():
            in_example = False
            yield _without_result(line, name)


def _call_alone(source: str, name: str) -> str:
    """Return a line of an example without a comment and, if it compares a call with its output, the call."""
    tree = parsed(source)
    if tree is None or not tree.body:
        return source.partition("#")[0].rstrip()
    tested = tree.body[0]
    value = tested.test if isinstance(tested, ast.Assert) else tested.value if isinstance(tested, ast.Expr) else None
    if len(tree.body) == 1 and isinstance(value, ast.Compare):
        sides = [value.left, *value.comparators]
        return ast.unparse(next((side for side in sides if name and name in ast.unparse(side)), value.left))
    return ast.unparse(tree).replace("\n", "; ") if "#" in source else source


def _without_result(line: str, name: str) -> str:
    """Return a line of text without what follows a call with literals and a sign such as `==` or `->`.

    `f(n) == f(n - 1) + 1` defines the function, so it stays.
    """
    for call, end in calls_in_text(line, name) if name else ():
        if _RESULT.match(line[end:]) and not any(
            isinstance(node, ast.Name) for one in call.args for node in ast.walk(one)
        ):
            return line[:end]
    return line


def _without_samples(lines: Iterable[str]) -> Iterator[str]:
    """Yield the lines without the outputs and explanations of the examples of a competition problem."""
    in_examples = False
    for title, section in _sections(lines):
        in_examples = in_examples or title.startswith(("sample", "example"))
        if title.startswith("note"):
            yield from _without_explanations(section)
        elif not _holds_output(title, in_examples):
            yield from section
        elif not section[-1].strip():
            yield ""


def _sections(lines: Iterable[str]) -> Iterator[tuple[str, list[str]]]:
    """Yield (title in lower case, lines with the label) of each part of a statement; the first one has no title."""
    title, section = "", list[str]()
    for line in lines:
        label = _HEADING.match(line) or _LABELLED.match(line)
        if label:
            yield title, section
            title, section = " ".join(label["title"].lower().split()), []
        section.append(line)
    yield title, section


def _holds_output(title: str, in_examples: bool) -> bool:
    """Return whether a part holds outputs of examples; a part `Output` before them describes the form of an output."""
    if title.endswith(("output", "outputs")):
        return in_examples or title.startswith("expected")
    return in_examples and title.startswith("explanation")


def _without_explanations(lines: Sequence[str]) -> Iterator[str]:
    """Yield the paragraphs of a note that do not explain an example."""
    for blank, paragraph in itertools.groupby(lines, lambda line: not line.strip()):
        kept = list(paragraph)
        if blank or not _OF_EXAMPLES.search("\n".join(kept)):
            yield from kept
