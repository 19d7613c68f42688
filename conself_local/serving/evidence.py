"""Hold what is known of a question: the programs, their outputs and the user's word; and say which answer follows.

The outputs of examples are the user's word, as is the answer to the one question: programs that contradict it are out.
Not covered: sampling and running (`best_of.py`), and the vote itself (`method/best_of.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from conself_local.evaluation.judge import outputs_match
from conself_local.method.behaviour import Behaviour, comparison_key
from conself_local.method.best_of import Candidate, Tally, deciding_input, tally, useful_inputs, votes
from conself_local.serving import verdict as text
from conself_local.serving.question import AskedFunction, QuestionInputs
from conself_local.serving.verdict import Choice, Kind, OpenQuestion, Verdict
from sandbox import Output, ProgramResult, Status


@dataclass(frozen=True)
class SampledProgram:
    """One sample of a question, with the outputs of its program."""

    code: str | None
    """None if the completion holds no program."""
    result: ProgramResult | None
    mean_nll: float | None
    token_ids: tuple[int, ...]


@dataclass(frozen=True)
class _Count:
    """A vote, and what its numbers stand for."""

    tally: Tally
    counted: tuple[int, ...]
    """Number of a counted sample -> its number among all samples."""
    useful: tuple[int, ...]
    """The places of the inputs that count."""


class Evidence:
    """The programs of one question and their outputs on its inputs; `first` is the program of the first answer."""

    def __init__(self, function: AskedFunction, inputs: QuestionInputs, first_answer: str, first_code: str) -> None:
        self.function, self.inputs = function, inputs
        self._first_answer, self._first_code = first_answer, first_code
        self._expected = dict(inputs.expected)
        self._refused: dict[int, tuple[str, ...]] = {}
        self._decided = False
        self.first: ProgramResult | None = None
        self.samples: list[SampledProgram] = []
        self.prompt_token_ids: tuple[int, ...] = ()
        """The prompt of the samples."""

    def behaviour(self, result: ProgramResult | None) -> Behaviour | None:
        """Return the behaviour of a program; None if it did not run, changes its outputs, or contradicts the user."""
        if result is None or result.deterministic is False or self._contradiction(result) is not None:
            return None
        return tuple(None if one.text is None else comparison_key(one.text) for one in result.outputs)

    def _contradiction(self, result: ProgramResult) -> int | None:
        """Return the place of the first input on which a program contradicts the user's word; None if there is none."""
        for place, wanted in sorted(self._expected.items()):
            output = result.outputs[place].text
            if output is None or not outputs_match(output, wanted):
                return place
        for place, outputs in sorted(self._refused.items()):
            if comparison_key(shown_output(result.outputs[place])) in outputs:
                return place
        return None

    def _count(self) -> _Count:
        found = {k: b for k, one in enumerate(self.samples) if (b := self.behaviour(one.result)) is not None}
        useful = useful_inputs(list(found.values()), {*self._expected, *self._refused})
        first = self.behaviour(self.first)
        candidates = [
            Candidate(_at(behaviour, useful), self.samples[k].mean_nll, len(self.samples[k].code or ""))
            for k, behaviour in found.items()
        ]
        favourite = _at(first, useful) if first else None
        return _Count(tally(candidates, len(self.samples), favourite), tuple(found), tuple(useful))

    @property
    def is_sure(self) -> bool:
        """Whether further samples would hardly change the answer."""
        return self._count().tally.is_sure

    def group_sizes(self) -> tuple[int, ...]:
        """Return how many samples behave alike, the largest group first; samples without a vote are in no group."""
        useful = self._count().useful
        found = (self.behaviour(sample.result) for sample in self.samples)
        groups = Counter(_at(behaviour, useful) for behaviour in found if behaviour is not None)
        return tuple(sorted((size for behaviour, size in groups.items() if votes(behaviour)), reverse=True))

    def verdict(self) -> Verdict:
        """Return the answer to show by what is known now."""
        count = self._count()
        note = text.contradiction_text(self.function.name, self.inputs.contradicting)
        if count.tally.winner is None:
            has_word = bool(self._expected or self._refused)
            reason = text.nobody_text(len(self.samples), has_word=has_word)
            return Verdict("single", self._first_answer, reason, sampled=len(self.samples)).with_note(note)
        winner = self.samples[count.counted[count.tally.winner]]
        assert winner.result, "a program that did not run has no vote"
        same = self._agrees_with_first(winner.result, count.useful)
        share = text.share_text(len(count.tally.agree), count.tally.sampled, len(count.useful))
        doubtful = count.tally.is_doubtful and not self._decided
        kind: Kind = "unsure" if doubtful else "confirmed" if same else "replaced"
        reason = share if same or doubtful else f"{share}; {self._why_replaced(winner.result, count.useful)}"
        return Verdict(
            kind,
            self._first_answer if same else text.block(winner.code or ""),
            f"the model is not sure: {reason}" if doubtful else reason,
            winner.code or "",
            self._other(count, same) if doubtful else None,
            len(count.tally.agree),
            count.tally.sampled,
            len(count.useful),
            None if self._decided else self._open_question(count),
        ).with_note(note)

    def _agrees_with_first(self, winner: ProgramResult, useful: Sequence[int]) -> bool:
        first, behaviour = self.behaviour(self.first), self.behaviour(winner)
        return first is not None and behaviour is not None and _at(first, useful) == _at(behaviour, useful)

    def _other(self, count: _Count, same: bool) -> str | None:
        """Return the second best program: that of the rival, else that of the first answer if it differs."""
        if count.tally.rival is not None:
            return self.samples[count.counted[count.tally.rival]].code
        return None if same or not self._first_code else self._first_code

    def _why_replaced(self, winner: ProgramResult, useful: Sequence[int]) -> str:
        """Return why the first answer is not shown any more: it contradicts the user, or the largest group."""
        if self.first is None:
            return text.FIRST_NOT_RUN
        place = self._contradiction(self.first)
        if place is not None:
            got = shown_output(self.first.outputs[place])
            return text.first_contradicts_text(self._call(place), got, self._expected.get(place))
        if self.first.deterministic is False:
            return text.FIRST_CHANGES
        for j in useful:
            ours, theirs = (shown_output(result.outputs[j]) for result in (self.first, winner))
            if comparison_key(ours) != comparison_key(theirs):
                return text.first_differs_text(self._call(j), ours, theirs)
        return text.FIRST_NOT_RUN

    def _call(self, place: int) -> str:
        return text.call_text(self.function.name, self.inputs.values[place])

    def _open_question(self, count: _Count) -> OpenQuestion | None:
        """Return the input on which the two largest groups differ, and what each answers; None with one group."""
        if count.tally.winner is None or count.tally.rival is None:
            return None
        pair = [self.samples[count.counted[k]] for k in (count.tally.winner, count.tally.rival)]
        one, other = (_at(self.behaviour(sample.result) or (), count.useful) for sample in pair)
        at = deciding_input(one, other, [text.length_of(self.inputs.values[j]) for j in count.useful])
        assert at is not None, "the groups differ"
        place = count.useful[at]
        a, b = (shown_output(sample.result.outputs[place]) for sample in pair if sample.result)
        return OpenQuestion(
            place,
            self.function.name,
            self.inputs.values[place],
            (a, b),
            (pair[0].code or "", pair[1].code or ""),
            (len(count.tally.agree), len(count.tally.rival_agree)),
            self.prompt_token_ids,
            (pair[0].token_ids, pair[1].token_ids),
        )

    def take_word(self, question: OpenQuestion, choice: Choice) -> Verdict:
        """Count the user's answer to the one question like an example, and return the answer to show now."""
        keys = [comparison_key(output) for output in question.outputs]
        if choice == "neither":
            refused = set(keys)
        else:
            ran = [one.result for one in self.samples if one.result] + ([self.first] if self.first else [])
            every = {comparison_key(shown_output(result.outputs[question.place])) for result in ran}
            refused = every - {keys[0 if choice == "a" else 1]}
        self._refused[question.place] = tuple(refused)
        self._decided = True
        return self.verdict().with_note(f"you decided on {question.call}")


def _at(behaviour: Behaviour, places: Sequence[int]) -> Behaviour:
    return tuple(behaviour[j] for j in places)


def shown_output(output: Output) -> str:
    """Return what a program answered, or how it failed: `42`, `fails (timeout)`."""
    if output.status is Status.OK and output.text is not None:
        return output.text
    return f"fails ({output.detail or output.status.value})"
