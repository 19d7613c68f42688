"""Define what comes of a question that several programs answered, and write it as sentences.

Not covered: how the verdict is found (`evidence.py`), and how it is printed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

from conself_local.problems.literals import input_text

Kind = Literal["confirmed", "replaced", "unsure", "single"]
"""`single`: nothing could be compared, so the first answer stands alone."""
Choice = Literal["a", "b", "neither"]
"""The user's answer to the one question: the output of the winner, of the rival, or neither."""
CHOICES: tuple[Choice, ...] = get_args(Choice)
_MAX_SHOWN = 200

NOT_RUN = "no program has been compared yet"
NO_CODE = "the answer holds no Python function, so there is nothing to compare"
NOT_CALLABLE = "its function takes no positional arguments, so there are no inputs to compare it on"
NO_ROOM = "the question leaves too little room in the context for more answers"
NO_INPUTS = (
    "no test inputs could be made: the question has no examples, the model wrote no calls with literal arguments, and "
    "the parameters have no types; with an example such as `f(2) == 4`, answers can be compared"
)
FIRST_NOT_RUN = "the first answer could not be run"
FIRST_CHANGES = "the first answer does not give the same outputs twice"


@dataclass(frozen=True)
class OpenQuestion:
    """The one question to the user: the input on which the two largest groups of programs differ."""

    place: int
    """The number of the input among those of the question."""
    name: str
    arguments: tuple[object, ...]
    outputs: tuple[str, str]
    """What the winner and its rival answer."""
    codes: tuple[str, str]
    votes: tuple[int, int]
    prompt_token_ids: tuple[int, ...]
    token_ids: tuple[tuple[int, ...], tuple[int, ...]]
    """The completions of the two programs, behind the same prompt."""

    @property
    def call(self) -> str:
        """The call with its arguments, cut to a length that can be shown."""
        return call_text(self.name, self.arguments)

    def lines(self) -> tuple[str, str, str]:
        """Return the question and both possible answers, one line each."""
        a, b = (f"{cut(text)}  ({votes_text(n)})" for text, n in zip(self.outputs, self.votes, strict=True))
        return f"What should {self.call} give?", f"a: {a}", f"b: {b}"


@dataclass(frozen=True)
class Verdict:
    """The answer to show, and why."""

    kind: Kind
    answer: str
    """The text of the answer: the first one, or a block with the program of the largest group."""
    reason: str
    """Whole sentences without a full stop at the end, separated by semicolons."""
    code: str = ""
    """The program of the largest group; empty if nothing was compared."""
    other: str | None = None
    """The second best program, if the model is not sure and there is one."""
    agree: int = 0
    sampled: int = 0
    inputs: int = 0
    question: OpenQuestion | None = None

    def with_note(self, note: str) -> Verdict:
        """Return the verdict with a sentence before its reason."""
        return replace(self, reason="; ".join(part for part in (note, self.reason) if part))

    def summary(self) -> dict[str, object]:
        """Return the verdict without its programs, for a program that reads it."""
        return {
            "verdict": self.kind, "reason": self.reason, "agree": self.agree, "sampled": self.sampled,
            "inputs": self.inputs,
        }  # fmt: skip


def call_text(name: str, arguments: Sequence[object]) -> str:
    """Return a call as a person would write it, cut to a length that can be shown: `f(2, 'a')`."""
    return cut(f"{name}({', '.join(repr(one) for one in arguments)})")


def cut(text: str) -> str:
    """Return at most 200 characters of a text on one line, with its length if it is longer."""
    line = " ".join(text.split()) if "\n" in text else text
    return line if len(line) <= _MAX_SHOWN else f"{line[:_MAX_SHOWN]}... ({len(line)} characters)"


def block(code: str) -> str:
    """Return a program as the block of code of an answer."""
    return f"```python\n{code.rstrip()}\n```"


def votes_text(count: int) -> str:
    """Return `1 program` or `3 programs`."""
    return f"{count} program{'s' * (count != 1)}"


def share_text(agree: int, sampled: int, inputs: int) -> str:
    """Return `11 of 16 agree on 20 inputs`."""
    verb = "agree" if agree != 1 else "answers like this"
    return f"{agree} of {sampled} {verb} on {inputs} input{'s' * (inputs != 1)}"


def contradiction_text(name: str, contradicting: Sequence[tuple[object, ...]]) -> str:
    """Return a sentence about examples that contradict each other; empty if there are none."""
    if not contradicting:
        return ""
    calls = ", ".join(call_text(name, arguments) for arguments in contradicting[:3])
    return f"the examples contradict each other on {calls}, so none of those outputs is used"


def nobody_text(sampled: int, *, has_word: bool) -> str:
    """Return why no program won: none ran, or none gives what the user wants."""
    if has_word:
        return f"the model is not sure: none of its {sampled} programs gives the outputs of your examples"
    return f"the model is not sure: none of its {sampled} programs answers the inputs"


def first_contradicts_text(call: str, got: str, wanted: str | None) -> str:
    """Return how the first answer contradicts the user's word."""
    if wanted is None:
        return f"the first answer gives {cut(got)} for {call}, which you have ruled out"
    return f"the first answer gives {cut(got)} for {call}, and your example says {cut(wanted)}"


def first_differs_text(call: str, ours: str, theirs: str) -> str:
    """Return on which input the first answer differs from the largest group."""
    return f"for {call} they give {cut(theirs)}, and the first answer gives {cut(ours)}"


def length_of(arguments: tuple[object, ...]) -> int:
    """Return the length of the literal of the arguments of a call."""
    return len(input_text(arguments))
