"""Continuous batching by mlx-lm's BatchGenerator: the MLX side of `engine_process.py` (Apple Silicon; tested on Linux's CPU).

A request draws with its own random key, so its answer does not hang on which other requests there are, up to rounding.
Runs in a process of its own. Not covered: sharing of prompts between slots (mlx-lm has no such thing), `measure` and threads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
from mlx_lm.generate import BatchGenerator
from mlx_lm.sample_utils import apply_top_p
from mlx_lm.tuner.utils import load_adapters, remove_lora_layers
from mlx_lm.utils import load

from conself_local.errors import ConselfError
from conself_local.sampling.generation import Generation
from conself_local.sampling.request_queue import RequestQueue, does_not_fit
from conself_local.sampling.sampler import Completion, Finish, SampleRequest
from conself_local.sampling.token_choice import token_uncertainty

_PREFILL_PROMPTS = 8


@dataclass
class _Running:
    generation: Generation
    text: Any
    """mlx-lm's streaming detokenizer."""


class MlxEngine:
    """The model in memory and its queue. Raises ConselfError where mlx-lm does not know the model."""

    def __init__(self, folder: Path, *, slots: int, context_tokens: int) -> None:
        if slots < 1 or context_tokens < 64:
            raise ValueError("slots >= 1 and context_tokens >= 64 are needed")
        try:
            self._model, self._tokenizer = load(str(folder))[:2]
        except (ValueError, KeyError, OSError, RuntimeError) as error:
            raise ConselfError(
                f"mlx-lm cannot load {folder}: {str(error)[:300]}", "use a model that mlx-lm knows"
            ) from error
        self.chat_template = str(self._tokenizer.chat_template or "")
        self.bos_token, self.eos_token = (str(t or "") for t in (self._tokenizer.bos_token, self._tokenizer.eos_token))
        if not self.chat_template or not self._tokenizer.eos_token_ids:
            raise ConselfError(
                f"{folder} has no chat template or no end token", "use the *instruct* version of the model"
            )
        self._slots = slots
        self._longest = context_tokens // slots
        self._folder = folder
        self._adapter: Path | None = None
        self._queue = RequestQueue()
        self._running: dict[int, _Running] = {}
        self._generator = self._new_generator()

    def _new_generator(self) -> Any:
        ends = [[token] for token in sorted(self._tokenizer.eos_token_ids)]
        return BatchGenerator(
            self._model,
            stop_tokens=ends,
            completion_batch_size=self._slots,
            prefill_batch_size=min(_PREFILL_PROMPTS, self._slots),
        )

    def tokenize(self, text: str, special: bool = True) -> list[int]:
        """`special`: as the template's text; else as an answer. A beginning token is what the template writes."""
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False)
        return ids

    def submit(self, request: SampleRequest) -> None:
        self._queue.add(request)

    @property
    def busy(self) -> bool:
        return bool(len(self._queue) or self._running)

    def step(self) -> Iterator[Completion]:
        """Hand free places to the queue, then one token for every request under way; yield what has ended."""
        yield from self._admit()
        if not self._running:
            return
        _, responses = self._generator.next()
        for response in responses:
            finish = self._take(self._running[response.uid], response)
            if finish:
                running = self._running.pop(response.uid)
                if response.finish_reason is None:
                    self._generator.remove([response.uid])
                yield running.generation.completion(finish)

    def under_way(self) -> Iterator[Generation]:
        """The answers that are growing."""
        return (running.generation for running in self._running.values())

    def _admit(self) -> Iterator[Completion]:
        while len(self._running) < self._slots:
            request = self._queue.first(self._adapter, idle=not self._running)
            if request is None:
                return
            self._queue.take(request)
            refusal = does_not_fit(request, self._longest)
            if refusal:
                yield refusal
                continue
            self.use_adapter(request.adapter)
            room = self._longest - len(request.prompt_token_ids)
            (uid,) = self._generator.insert(
                [list(request.prompt_token_ids)],
                max_tokens=[min(request.max_new_tokens, room)],
                samplers=[_sampler_of(request)],
            )
            self._running[uid] = _Running(Generation(request), self._tokenizer.detokenizer)

    def _take(self, running: _Running, response: Any) -> Finish | None:
        token = int(response.token)
        running.generation.add(token, *token_uncertainty(np.array(response.logprobs.astype(mx.float32)), token))
        if response.finish_reason == "stop":
            running.text.finalize()
            running.generation.text += running.text.last_segment.encode()
            return "end-token"
        running.text.add_token(token)
        if response.finish_reason == "length":
            running.text.finalize()
        finish = running.generation.finish_with(running.text.last_segment.encode(), self._longest)
        return finish or ("length" if response.finish_reason else None)

    def use_adapter(self, path: Path | None) -> None:
        """Put the LoRA layers of a folder in place of those that are there. Only while idle."""
        if path == self._adapter:
            return
        assert not self._running, "an adapter is switched only between requests"
        self._model = remove_lora_layers(self._model)
        if path:
            try:
                self._model = load_adapters(self._model, str(path))
            except (ValueError, KeyError, OSError, RuntimeError, AttributeError) as error:
                raise ConselfError(
                    f"mlx-lm refuses the adapter {path}: {str(error)[:300]}", "it was made for another model"
                ) from error
        self._model.eval()
        self._adapter = path
        self._generator.close()
        self._generator = self._new_generator()

    def score(self, prompt: Sequence[int], completion: Sequence[int], adapter: Path | None) -> list[float]:
        """Log-probability (nats, temperature 1) of each completion token after the prompt. Only while idle."""
        if not prompt:
            raise ConselfError("a prompt without tokens cannot be scored", "give a prompt")
        self.use_adapter(adapter)
        logits = self._model(mx.array([[*prompt, *completion][:-1]]))[0, len(prompt) - 1 :].astype(mx.float32)
        logps = logits - mx.logsumexp(logits, axis=-1, keepdims=True)
        taken = mx.take_along_axis(logps, mx.array(list(completion))[:, None], axis=-1)[:, 0]
        return [float(x) for x in np.array(taken)]

    def set_threads(self, threads: int) -> None:
        """Nothing to set: MLX computes on the graphics processor."""

    def measure(self, prompts: Sequence[Sequence[int]], seconds: float, max_new_tokens: int) -> float:
        raise ConselfError("speed is measured for GGUF files only", "give a GGUF file")


def _sampler_of(request: SampleRequest) -> Callable[[mx.array], mx.array]:
    """Temperature, then top-p, then a draw with the request's own key. (1, V) log-probabilities -> (1,) token."""
    if request.temperature <= 0:
        return lambda logprobs: mx.argmax(logprobs, axis=-1)
    keys = [mx.random.key(request.seed)]

    def sample(logprobs: mx.array) -> mx.array:
        keys[0], key = mx.random.split(keys[0])
        scaled = logprobs / request.temperature
        scaled = scaled - mx.logsumexp(scaled, axis=-1, keepdims=True)
        if request.top_p < 1:
            scaled = apply_top_p(scaled, request.top_p)
        return mx.random.categorical(scaled, key=key)

    return sample
