"""Answer a question by the consensus of several sampled programs, which run before one of them is shown.

The first answer is shown at once by the caller. Then programs are sampled in blocks of four and run on inputs that are
made for the question, until the top behaviour is sure; the first answer is confirmed, replaced, or shown as doubtful.
Not covered: which answer follows from the outputs (`evidence.py`), and the inputs (`question.py`).
"""

from __future__ import annotations

import asyncio
import secrets
import uuid
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

from conself_local.sampling.extract import extract_program, parse_calls
from conself_local.sampling.prompts import call_messages
from conself_local.sampling.sampler import ChatMessage, Completion, EncodedPrompt, SampleRequest
from conself_local.sampling.shared_engine import SharedEngine
from conself_local.serving import verdict as text
from conself_local.serving.evidence import Evidence, SampledProgram
from conself_local.serving.keeping import answered_by_vote
from conself_local.serving.program_runner import ProgramRunner
from conself_local.serving.question import AskedFunction, asked_function, examples_of, question_inputs, with_types
from conself_local.serving.verdict import Choice, OpenQuestion, Verdict
from conself_local.store.kept_questions import AnsweredQuestion
from sandbox import Program, ProgramResult

MOST = 16
"""Programs that are sampled for a question, unless another number is asked for."""
BLOCK = 4
TEMPERATURE, TOP_P = 0.8, 0.95
CALLS, CALL_TOKENS = 8, 256
"""Calls that the model is asked for, and the tokens that it may write them with."""
PREFIX = "```python\n"
"""The beginning of a sampled answer, which is given to the model."""
_MAX_NEW_TOKENS, _MIN_NEW_TOKENS = 512, 64


class BestOf:
    """One question: `decide` samples until the answer is sure; `verdict` says what is known at any moment.

    most: maximum number of sampled programs. room: maximum number of tokens of prompt and completion together.
    on_progress is called with a sentence after each block.
    """

    def __init__(
        self,
        engine: SharedEngine,
        runner: ProgramRunner,
        chat: Sequence[ChatMessage],
        *,
        adapter: Path | None,
        room: int,
        most: int = MOST,
        seed: int | None = None,
        on_progress: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._engine, self._runner, self._chat, self._adapter = engine, runner, list(chat), adapter
        self._room, self._most, self._on_progress = room, most, on_progress
        self._seed = secrets.randbits(31) if seed is None else seed
        self.question = next((message.content for message in reversed(chat) if message.role == "user"), "")
        """The text of the question."""
        self.first_answer = ""
        """The text of the first answer so far; set by the caller while it is generated."""
        self.tokens = 0
        """Tokens that were sampled besides the first answer."""
        self._evidence: Evidence | None = None
        self._why_not = text.NOT_RUN
        self._known: dict[str, ProgramResult] = {}

    def verdict(self) -> Verdict:
        """Return the answer to show by what is known now."""
        if self._evidence is None or not self._evidence.samples:
            return Verdict("single", self.first_answer, self._why_not)
        return self._evidence.verdict()

    def answered(self) -> AnsweredQuestion | None:
        """Return the question as it is kept for training; None if its programs were not compared."""
        if self._evidence is None or not self._evidence.samples:
            return None
        return answered_by_vote(self.question, self._evidence)

    def take_word(self, question: OpenQuestion, choice: Choice) -> Verdict:
        """Count the user's answer to the one question, and return the answer to show now."""
        assert self._evidence is not None, "only evidence raises a question"
        return self._evidence.take_word(question, choice)

    async def decide(self) -> Verdict:
        """Sample and run, after the first answer is complete, until the answer to show is sure; return it.

        Raises ConselfError if the engine dies, and SandboxError if programs cannot be run here; `verdict` still says
        what was known then.
        """
        code = extract_program(self.first_answer) or ""
        function = asked_function(self.question, code)
        if function is None or not function.is_callable:
            self._why_not = text.NO_CODE if function is None else text.NOT_CALLABLE
            return self.verdict()
        prompt = await self._engine.encode(self._program_chat(function), PREFIX, thinking=False)
        if self._room - len(prompt.token_ids) < _MIN_NEW_TOKENS:
            self._why_not = text.NO_ROOM
            return self.verdict()
        evidence = self._evidence = await self._begin(function, code, prompt)
        while evidence and not evidence.is_sure and len(evidence.samples) < self._most:
            self._on_progress(evidence.verdict().reason)
            await self._run(evidence, await self._sample_block(prompt, len(evidence.samples)))
        return self.verdict()

    def _program_chat(self, function: AskedFunction) -> list[ChatMessage]:
        """Return the chat with the name of the function and the form of the answer behind the question."""
        named = "" if function.name in self.question else f"\n\nThe function must be named `{function.name}`."
        wanted = f"{named}\n\nAnswer with one ```python block that holds the whole program and nothing else."
        last = max(i for i, message in enumerate(self._chat) if message.role == "user")
        return [replace(m, content=m.content + wanted) if i == last else m for i, m in enumerate(self._chat)]

    async def _begin(self, function: AskedFunction, code: str, prompt: EncodedPrompt) -> Evidence | None:
        """Ask for calls beside the first block, make the inputs, and run the block with the first answer's program.

        Returns None if no inputs can be had.
        """
        examples, contradicting = examples_of(self.question, function)
        given = [one.arguments for one in examples]
        asking = await self._engine.encode(call_messages(self.question, function.name, given, CALLS), thinking=False)
        calls, block = await asyncio.gather(self._complete(self._call_request(asking)), self._sample_block(prompt, 0))
        proposed = parse_calls(calls.text, function.name) if calls else []
        function = with_types(function, [code, *(one.code for one in block if one.code)])
        inputs = question_inputs(function, examples, contradicting, proposed, str(self._seed))
        if not inputs.values:
            self._why_not = text.NO_INPUTS
            return None
        evidence = Evidence(function, inputs, self.first_answer, code)
        evidence.prompt_token_ids = prompt.token_ids
        self._evidence = evidence
        await self._run(evidence, block, code)
        return evidence

    def _call_request(self, prompt: EncodedPrompt) -> SampleRequest:
        most = max(1, min(CALL_TOKENS, self._room - len(prompt.token_ids)))
        return SampleRequest(
            uuid.uuid4().hex, prompt.token_ids, 0.0, 1.0, most, self._seed, stop_at_repetition=True,
            adapter=self._adapter,
        )  # fmt: skip

    async def _sample_block(self, prompt: EncodedPrompt, begin: int) -> list[SampledProgram]:
        """Return the next block of programs, which have not run; all together, there are at most `most`."""
        new_tokens = min(_MAX_NEW_TOKENS, self._room - len(prompt.token_ids))
        requests = [
            SampleRequest(
                uuid.uuid4().hex, prompt.token_ids, TEMPERATURE, TOP_P, new_tokens, (self._seed + 1 + number) % 2**32,
                PREFIX, stop_at_fence=True, stop_at_repetition=True, adapter=self._adapter,
            )
            for number in range(begin, min(begin + BLOCK, self._most))
        ]  # fmt: skip
        found = [one for one in await asyncio.gather(*map(self._complete, requests)) if one]
        return [SampledProgram(extract_program(PREFIX + c.text), None, c.mean_nll, c.token_ids) for c in found]

    async def _complete(self, request: SampleRequest) -> Completion | None:
        """Return the whole completion; None if the prompt does not fit the context."""
        if len(request.prompt_token_ids) >= self._room:
            return None
        async with aclosing(self._engine.generate(request)) as pieces:  # type: ignore[type-var]
            async for piece in pieces:
                if isinstance(piece, Completion):
                    self.tokens += len(piece.token_ids)
                    return piece
        return None

    async def _run(self, evidence: Evidence, block: Sequence[SampledProgram], first: str | None = None) -> None:
        """Run the programs of a block that have not run yet, and add the block to what is known."""
        codes = dict.fromkeys(code for code in (first, *(one.code for one in block)) if code)
        new = [code for code in codes if code not in self._known]
        values, name = evidence.inputs.values, evidence.function.name
        results = await self._runner.run([Program(str(i), c, "function", name, values) for i, c in enumerate(new)])
        self._known |= {code: results[str(i)] for i, code in enumerate(new) if str(i) in results}
        if first is not None:
            evidence.first = self._known.get(first)
        evidence.samples += [replace(one, result=self._known.get(one.code or "")) for one in block]
