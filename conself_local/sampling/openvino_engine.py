"""Run continuous batching with OpenVINO GenAI: its scheduler and kernels, our tokens, our stops, one queue.

Token ids go in and come out, one per request and step, each with its log-probability at temperature 1 over the whole
vocabulary (the pipeline reports it before temperature and top-p; a test compares it with llama.cpp's). Each request
draws with a random generator of its own, seeded by it, so its answer does not depend on the others, up to rounding.
An adapter is a whole GGUF file here, into which it was merged; the pipeline is opened again for each.

It runs in the engine process (`engine_server.py`). Not covered: the entropy of a token, which the pipeline does not
report, and states of random generators: an answer that the engine's death interrupts starts anew, with its seed.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conself_local.errors import ConselfError
from conself_local.sampling.generation import Generation
from conself_local.sampling.openvino_runtime import Runtime, RuntimeOptions
from conself_local.sampling.request_queue import RequestQueue, does_not_fit
from conself_local.sampling.sampler import Completion, Finish, SampleRequest
from conself_local.sampling.speed_probe import measure_rate
from conself_local.sampling.vocabulary import Vocabulary


@dataclass
class _Running:
    generation: Generation
    handle: Any
    """The pipeline's handle of the request."""


class OpenVinoEngine:
    """The model in memory and its queue.

    `weights` is the GGUF file without an adapter, and `longest` the maximum number of tokens of prompt and completion.
    `on_progress` is called after each step. Raises ConselfError if OpenVINO cannot load the file.
    """

    def __init__(
        self,
        weights: Path,
        vocabulary: Vocabulary,
        options: RuntimeOptions,
        *,
        longest: int,
        on_progress: Callable[[], None] = lambda: None,
    ) -> None:
        self._weights, self.vocabulary, self._options = weights, vocabulary, options
        self._longest = min(longest, options.context_tokens)
        self._on_progress = on_progress
        self._ends = {token for token in range(vocabulary.size) if vocabulary.ends(token)}
        self._queue = RequestQueue()
        self._running: dict[str, _Running] = {}
        self._adapter: Path | None = None
        self._scoring = False
        self._numbers = itertools.count()
        self._runtime = Runtime()
        self._pipeline = self._runtime.open_pipeline(weights, options, scoring=False)
        self.sampled_tokens = 0
        """Number of tokens sampled since the engine was made."""

    def tokenize(self, text: str, special: bool = True) -> list[int]:
        """Return the token ids of a text (`Vocabulary.tokenize`)."""
        return self.vocabulary.tokenize(text, special)

    def detokenize(self, token_ids: Sequence[int]) -> str:
        """Return the text of a completion's tokens (`Vocabulary.detokenize`)."""
        return self.vocabulary.detokenize(token_ids)

    def _use(self, adapter: Path | None, *, scoring: bool = False) -> None:
        """Open the file of an adapter, or the weights without one for None; call it only while idle."""
        if (adapter, scoring) == (self._adapter, self._scoring):
            return
        assert not self._running, "an adapter is switched only between requests"
        self._pipeline = None  # frees the memory before the other file takes its own
        self._pipeline = self._runtime.open_pipeline(adapter or self._weights, self._options, scoring=scoring)
        self._adapter, self._scoring = adapter, scoring

    # -- the queue ------------------------------------------------------------------------------------------

    def submit(self, request: SampleRequest) -> None:
        """Append a request to the queue; `step` works on it."""
        self._queue.add(request)

    @property
    def waiting(self) -> int:
        """Number of requests that have no slot yet."""
        return len(self._queue)

    @property
    def busy(self) -> bool:
        """Whether any request is waiting or in progress."""
        return bool(self.waiting or self._running)

    @property
    def slots_are_sampling(self) -> bool:
        """Whether every slot has sampled at least one token of its request."""
        running = self._running.values()
        return len(running) == self._options.slots and all(one.generation.token_ids for one in running)

    def under_way(self) -> Iterator[Generation]:
        """Iterate over the completions in progress."""
        return (running.generation for running in self._running.values())

    def cancel(self, key: str) -> None:
        """Forget the request of this key, waiting or in progress; no completion follows."""
        self._queue.remove(key)
        if key in self._running:
            self._running.pop(key).handle.cancel()

    def step(self) -> Iterator[Completion]:
        """Fill free slots from the queue, sample one token per request in progress, and yield what has ended.

        Raises ConselfError if the pipeline fails or gives a request up.
        """
        yield from self._admit()
        if not self._running:
            return
        self._advance()
        for key, running in list(self._running.items()):
            finish = self._read(running)
            if finish:
                del self._running[key]
                running.handle.cancel()
                yield running.generation.completion(finish)

    def _advance(self) -> None:
        try:
            self._pipeline.step()
        except RuntimeError as error:
            raise ConselfError(
                f"OpenVINO could not compute a batch: {str(error).strip()[:300]}",
                "lower --slots, or sample with --engine llama.cpp",
            ) from error
        self._on_progress()

    def _admit(self) -> Iterator[Completion]:
        while len(self._running) < self._options.slots:
            request = self._queue.first(self._adapter, idle=not self._running)
            if request is None:
                return
            self._queue.take(request)
            refusal = does_not_fit(request, self._longest)
            if refusal:
                yield refusal
                continue
            self._use(request.adapter)
            room = self._longest - len(request.prompt_token_ids)
            config = self._config(min(request.max_new_tokens, room))
            config.do_sample = request.temperature > 0
            if config.do_sample:
                config.temperature, config.top_p, config.rng_seed = request.temperature, request.top_p, request.seed
            self._running[request.key] = _Running(Generation(request), self._add(request.prompt_token_ids, config))

    def _config(self, max_new_tokens: int) -> Any:
        config = self._runtime.genai.GenerationConfig()
        config.set_eos_token_id(min(self._ends))
        config.stop_token_ids = self._ends
        config.max_new_tokens = max_new_tokens
        config.logprobs = 1
        return config

    def _add(self, tokens: Sequence[int], config: Any) -> Any:
        return self._pipeline.add_request(next(self._numbers), self._runtime.tensor(list(tokens)), config)

    def _read(self, running: _Running) -> Finish | None:
        """Add the tokens that are new, and return why the completion ends, or None if it continues."""
        generation = running.generation
        while running.handle.can_read():
            for output in running.handle.read().values():
                for token, logp in zip(output.generated_ids, output.generated_log_probs, strict=True):
                    finish = self._add_token(generation, int(token), float(logp))
                    if finish:
                        return finish
        status = running.handle.get_status().name
        if status != "RUNNING":
            raise ConselfError(
                f"OpenVINO gave a request up ({status.lower()})", "lower --slots, or sample with --engine llama.cpp"
            )
        return None

    def _add_token(self, generation: Generation, token: int, logp: float) -> Finish | None:
        if not math.isfinite(logp):
            raise ConselfError(
                "the model's output is not a number",
                "the model file may be damaged: get it again, or sample with --engine llama.cpp",
            )
        generation.add(token, -logp, None)
        self.sampled_tokens += 1
        if token in self._ends:
            return "end-token"
        return generation.finish_with(self.vocabulary.piece(token), self._longest)

    # -- measurements ---------------------------------------------------------------------------------------

    def measure(self, prompts: Sequence[Sequence[int]], seconds: float, max_new_tokens: int) -> float:
        """Return tokens per second with every slot busy, over about `seconds` from the first full step on.

        Call it only while idle.
        """
        slots = self._options.slots
        rate = measure_rate(self, prompts, seconds, max_new_tokens, slots=slots, adapter=self._adapter)
        for key in [*(request.key for request in self._queue), *self._running]:
            self.cancel(key)
        return rate

    def score(self, prompt: Sequence[int], completion: Sequence[int], adapter: Path | None) -> list[float]:
        """Return the log-probability (nats, temperature 1) of each completion token; call it only while idle.

        Raises ConselfError if the prompt has no tokens, or prompt and completion do not fit the context.
        """
        tokens = [*prompt, *completion]
        if not prompt or len(tokens) > self._longest:
            raise ConselfError(
                f"{len(tokens)} tokens do not fit the context of {self._longest}", "use a larger context"
            )
        if not completion:
            return []
        self._use(adapter, scoring=True)
        config = self._config(0)
        config.echo = True
        handle = self._add(tokens, config)
        while self._pipeline.has_non_finished_requests():
            self._advance()
        logps = [float(logp) for output in handle.read_all() for logp in output.generated_log_probs]
        if len(logps) != len(tokens):
            raise ConselfError("OpenVINO returned too few log-probabilities", "sample with --engine llama.cpp")
        return logps[len(prompt) :]

    def set_threads(self, threads: int) -> None:
        """Confine the engine to this many of its cores from now on; the number of its threads stays.

        Its threads wait for each other without spinning, so several of them can share a core. Nothing happens on
        systems that cannot tell processes where to run.
        """
        if hasattr(os, "sched_setaffinity"):
            allowed = sorted(_CORES)[: max(1, threads)]
            for thread in os.listdir("/proc/self/task"):
                with contextlib.suppress(ProcessLookupError):  # it has ended meanwhile
                    os.sched_setaffinity(int(thread), allowed)


_CORES = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
"""The cores that the process may use, as it was started."""
