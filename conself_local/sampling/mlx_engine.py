"""Run continuous batching with mlx-lm's BatchGenerator (Apple Silicon; tested on the CPU under Linux).

Each request draws with its own random key, so its completion does not depend on the other requests, up to rounding.
It runs in the engine process (`engine_server.py`). Not covered: prefix sharing between slots (mlx-lm has none), and
threads.
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
from conself_local.sampling.speed_probe import measure_rate
from conself_local.sampling.token_choice import token_uncertainty

_PREFILL_PROMPTS = 8


@dataclass
class _Running:
    generation: Generation
    detokenizer: Any
    """mlx-lm's streaming detokenizer for this request."""


class MlxEngine:
    """The model in memory and its queue.

    `slots` is the maximum number of sequences at once; each may have `context_tokens // slots` tokens of prompt and
    completion. `on_progress` is called after each step; a long prompt takes several.
    Raises ConselfError if mlx-lm cannot load the model, or if it has no end token.
    """

    def __init__(
        self, folder: Path, *, slots: int, context_tokens: int, on_progress: Callable[[], None] = lambda: None
    ) -> None:
        if slots < 1 or context_tokens < 64:
            raise ValueError("slots >= 1 and context_tokens >= 64 are needed")
        try:
            self._model, self._tokenizer = load(str(folder))[:2]
        except (AttributeError, ImportError, LookupError, OSError, RuntimeError, TypeError, ValueError) as error:
            raise ConselfError(
                f"mlx-lm cannot load {folder}: {str(error)[:300]}", "use a model that mlx-lm supports"
            ) from error
        if not self._tokenizer.eos_token_ids:
            raise ConselfError(f"{folder} has no end token", "use the *instruct* version of the model")
        self._slots = slots
        self._longest = context_tokens // slots
        self._folder = folder
        self._on_progress = on_progress
        self._adapter: Path | None = None
        self._queue = RequestQueue()
        self._running: dict[int, _Running] = {}
        self.sampled_tokens = 0
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
        """Return the token ids of a text; `special` has no effect here.

        No beginning-of-sequence token is added: the chat template writes it.
        """
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False)
        return ids

    def detokenize(self, token_ids: Sequence[int]) -> str:
        """Return the text of a completion's tokens; special tokens have none."""
        text: str = self._tokenizer.decode(list(token_ids), skip_special_tokens=True)
        return text

    def submit(self, request: SampleRequest) -> None:
        """Append a request to the queue; `step` works on it."""
        self._queue.add(request)

    @property
    def busy(self) -> bool:
        """Whether any request is waiting or in progress."""
        return bool(len(self._queue) or self._running)

    def step(self) -> Iterator[Completion]:
        """Fill free slots from the queue, sample one token per request in progress, and yield what has ended."""
        yield from self._admit()
        if not self._running:
            return
        _, responses = self._generator.next()
        self._on_progress()
        for response in responses:
            finish = self._add_token(self._running[response.uid], response)
            if finish:
                running = self._running.pop(response.uid)
                if response.finish_reason is None:
                    self._generator.remove([response.uid])
                yield running.generation.completion(finish)

    @property
    def waiting(self) -> int:
        """Number of requests that have no slot yet."""
        return len(self._queue)

    @property
    def slots_are_sampling(self) -> bool:
        """Whether every slot has sampled at least one token of its request."""
        return len(self._running) == self._slots and all(r.generation.token_ids for r in self._running.values())

    def under_way(self) -> Iterator[Generation]:
        """Iterate over the completions in progress."""
        return (running.generation for running in self._running.values())

    def cancel(self, key: str) -> None:
        """Forget the request of this key, waiting or in progress; no completion follows."""
        self._queue.remove(key)
        for uid in [uid for uid, running in self._running.items() if running.generation.request.key == key]:
            self._generator.remove([uid])
            del self._running[uid]

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

    def _add_token(self, running: _Running, response: Any) -> Finish | None:
        token = int(response.token)
        self.sampled_tokens += 1
        running.generation.add(token, *token_uncertainty(np.array(response.logprobs.astype(mx.float32)), token))
        if response.finish_reason == "stop":
            running.detokenizer.finalize()
            running.generation.text += running.detokenizer.last_segment.encode()
            return "end-token"
        running.detokenizer.add_token(token)
        if response.finish_reason == "length":
            running.detokenizer.finalize()
        finish = running.generation.finish_with(running.detokenizer.last_segment.encode(), self._longest)
        return finish or ("length" if response.finish_reason else None)

    def use_adapter(self, path: Path | None) -> None:
        """Replace the LoRA layers by those of an adapter folder, or remove them for None; call it only while idle.

        Raises ConselfError if mlx-lm cannot load the adapter.
        """
        if path == self._adapter:
            return
        assert not self._running, "an adapter is switched only between requests"
        self._model = remove_lora_layers(self._model)
        if path:
            try:
                self._model = load_adapters(self._model, str(path))
            except (ValueError, KeyError, OSError, RuntimeError, AttributeError) as error:
                raise ConselfError(
                    f"mlx-lm cannot load the adapter {path}: {str(error)[:300]}",
                    "use an adapter that was trained on this model",
                ) from error
        self._model.eval()
        self._adapter = path
        self._generator.close()
        self._generator = self._new_generator()

    def score(self, prompt: Sequence[int], completion: Sequence[int], adapter: Path | None) -> list[float]:
        """Return the log-probability (nats, temperature 1) of each completion token; call it only while idle.

        Raises ConselfError if the prompt has no tokens or the adapter cannot be loaded.
        """
        if not prompt:
            raise ConselfError("a prompt without tokens cannot be scored", "give a prompt")
        self.use_adapter(adapter)
        logits = self._model(mx.array([[*prompt, *completion][:-1]]))[0, len(prompt) - 1 :].astype(mx.float32)
        logps = logits - mx.logsumexp(logits, axis=-1, keepdims=True)
        chosen = mx.take_along_axis(logps, mx.array(list(completion))[:, None], axis=-1)[:, 0]
        return [float(x) for x in np.array(chosen)]

    def set_threads(self, threads: int) -> None:
        """Do nothing: MLX computes on the GPU, or on all cores."""

    def measure(self, prompts: Sequence[Sequence[int]], seconds: float, max_new_tokens: int) -> float:
        """Return tokens per second with every slot busy, over about `seconds` from the first full step on."""
        rate = measure_rate(self, prompts, seconds, max_new_tokens, slots=self._slots, adapter=self._adapter)
        self._queue.clear()
        self._running.clear()
        self._generator.close()
        self._generator = self._new_generator()
        return rate


def _sampler_of(request: SampleRequest) -> Callable[[mx.array], mx.array]:
    """Return a function from log-probabilities (1, V) to a token (1,): temperature, then top-p, then a draw.

    The draw uses the request's own random key.
    """
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
