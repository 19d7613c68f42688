"""Open an engine and a sandbox for one question on a terminal: answer, verdict, and the user's word.

It can be stopped at any moment, with Ctrl-C or from another thread; then it returns what is known so far.
Not covered: printing, and the server (`serve_best_of.py`).
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass
from pathlib import Path

from conself_local.errors import ConselfError
from conself_local.home import Home
from conself_local.model_files.model import Model
from conself_local.sampling.config import SamplingConfig
from conself_local.sampling.engine_process import EngineProcess
from conself_local.sampling.open_engine import engine_of_original, open_engine
from conself_local.sampling.sampler import ChatMessage, Completion, SampleRequest
from conself_local.sampling.shared_engine import SharedEngine
from conself_local.sampling.tuning import sampling_config
from conself_local.serving.ask import PROMPT_TOKENS, TOP_P
from conself_local.serving.best_of import BLOCK, BestOf
from conself_local.serving.program_runner import ProgramRunner
from conself_local.serving.verdict import Choice, OpenQuestion, Verdict
from conself_local.store.kept_questions import AnsweredQuestion
from sandbox import MakeSandbox

STOPPED = "stopped"


@dataclass(frozen=True, kw_only=True)
class AskOptions:
    """How a question is answered."""

    most: int
    """Maximum number of sampled programs."""
    temperature: float = 0.0
    """Sampling temperature of the first answer; 0 is greedy."""
    max_new_tokens: int
    """Maximum length of the first answer."""
    threads: int
    use_gpu: bool
    seed: int | None = None


class AskBestOf:
    """One question on a model with an adapter, or None for the base model.

    `run` blocks until the answer is decided or `stop` was called. on_text is called with new text of the first answer,
    on_progress with a sentence after each block, and `keep` with a question whose programs were compared to the end;
    all in the thread of `run`.
    """

    def __init__(
        self,
        home: Home,
        model: Model,
        adapter: Path | None,
        question: str,
        options: AskOptions,
        make_sandbox: MakeSandbox,
        on_text: Callable[[str], None],
        on_progress: Callable[[str], None],
        keep: Callable[[AnsweredQuestion], None] = lambda answered: None,
    ) -> None:
        self._home, self._model, self._adapter, self._question = home, model, adapter, question
        self._options, self._on_text, self._on_progress, self._keep = options, on_text, on_progress, keep
        self._runner = ProgramRunner(make_sandbox)
        self._room = min(model.context_length, PROMPT_TOKENS + options.max_new_tokens)
        self._best: BestOf | None = None
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[Verdict] | None = None
        self.is_stopped = False

    def run(self) -> Verdict:
        """Return the answer to show.

        Raises SandboxError, before a model is loaded, if programs cannot be run here, and ConselfError if the model
        cannot be loaded, the question does not fit, or the engine dies before there is an answer.
        """
        try:
            self._runner.start()
            engine = self._open_engine()
            try:
                verdict = asyncio.run(self._answer(engine))
            except KeyboardInterrupt:
                self.is_stopped = True
                return self._so_far()
            answered = self._best.answered() if self._best and not self.is_stopped else None
            if answered:
                self._keep(answered)
            return verdict
        finally:
            self._runner.close()

    def stop(self) -> None:
        """Let `run`, in another thread, return what is known so far, at the earliest when the engine has started."""
        with self._lock:
            self.is_stopped = True
            if self._loop and self._task:
                with suppress(RuntimeError):  # the loop has ended
                    self._loop.call_soon_threadsafe(self._task.cancel)

    def take_word(self, question: OpenQuestion, choice: Choice) -> Verdict:
        """Return the answer to show after the user has answered the one question."""
        assert self._best is not None, "a question follows from an answer"
        return self._best.take_word(question, choice)

    def _open_engine(self) -> EngineProcess:
        """Start an engine for a block of programs and the request for calls beside it."""
        engine = engine_of_original(self._model)
        found = sampling_config(self._model, self._home.cache, engine)
        config = SamplingConfig(found.format, BLOCK + 1, self._options.threads, engine)
        return open_engine(self._model, config, self._home.cache, longest=self._room, use_gpu=self._options.use_gpu)

    async def _answer(self, opened: EngineProcess) -> Verdict:
        waiting = [opened]
        engine = SharedEngine(lambda: waiting.pop() if waiting else self._open_engine())
        self._best = BestOf(
            engine, self._runner, [ChatMessage("user", self._question)], adapter=self._adapter, room=self._room,
            most=self._options.most, seed=self._options.seed, on_progress=self._on_progress,
        )  # fmt: skip
        try:
            await engine.start()
            with self._lock:
                self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
                if self.is_stopped:
                    return self._so_far()
            await self._first_answer(engine, self._best)
            return await self._best.decide()
        except asyncio.CancelledError:
            self.is_stopped = True
            return self._so_far()
        except ConselfError as error:
            if not self._best.first_answer:
                raise
            return self._best.verdict().with_note(error.message)
        finally:
            engine.close()
            for unused in waiting:
                unused.close()

    async def _first_answer(self, engine: SharedEngine, best: BestOf) -> None:
        """Generate the first answer and show it while it grows."""
        prompt = await engine.encode([ChatMessage("user", self._question)])
        if len(prompt.token_ids) >= self._room:
            raise ConselfError(
                f"the question has {len(prompt.token_ids)} tokens, but at most {self._room - 1} fit",
                "ask a shorter question",
            )
        request = SampleRequest(
            "first", prompt.token_ids, self._options.temperature, TOP_P, self._options.max_new_tokens,
            self._options.seed or 0, stop_at_repetition=True, adapter=self._adapter,
        )  # fmt: skip
        async with aclosing(engine.generate(request)) as pieces:  # type: ignore[type-var]
            async for piece in pieces:
                if not isinstance(piece, Completion):
                    best.first_answer += piece.text
                    self._on_text(piece.text)

    def _so_far(self) -> Verdict:
        assert self._best is not None, "it is made before anything can be stopped"
        return self._best.verdict().with_note(STOPPED)
