"""Run continuous batching on llama.cpp's low-level API: one decode per step for all slots, one queue for all prompts.

A slot is a llama.cpp sequence with its own stream of the KV cache; more slots give larger matrix products. A free slot
takes the next request at once. Prefix sharing: the part of a prompt that another slot has cached, or will have cached
soon, is copied from there instead of computed. Busy slots are kept adjacent, since llama.cpp splits a batch at every
gap. The slot length follows the queue: a request that needs longer slots waits until all slots are empty, then the
context is allocated again. Models with recurrent layers share no prefixes, because llama.cpp cannot copy a part of a
state. With one slot nothing is shared and the KV cache is cleared before every prompt, so equal requests give equal
completions whatever ran before.

It runs in the engine process (`engine_server.py`), because a failed assertion of ggml ends the process.
Not covered: prompts, templates, JSON. Source of the API: llama.h at llama-cpp-python 0.3.20 and later.
"""

from __future__ import annotations

import ctypes
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import llama_cpp as ll
import numpy as np

from conself_local.errors import ConselfError
from conself_local.model_files.memory import padded_tokens
from conself_local.sampling.amx import model_params
from conself_local.sampling.generation import Generation
from conself_local.sampling.llama_log import keep_warnings_only
from conself_local.sampling.llama_progress import LlamaProgress
from conself_local.sampling.request_queue import RequestQueue, does_not_fit
from conself_local.sampling.sampler import Completion, Finish, SampleRequest
from conself_local.sampling.speed_probe import measure_rate
from conself_local.sampling.token_choice import Logits, choose_token, token_uncertainty
from conself_local.sampling.vocabulary import Vocabulary, end_token_override

BATCH_TOKENS = 512
_MIN_COPIED_TOKENS = 16
"""A shared prefix that saves fewer tokens than this is computed, not copied."""


@dataclass
class Slot:
    """One llama.cpp sequence: the completion in progress and the tokens in its KV cache."""

    index: int
    """Sequence id in llama.cpp."""
    cached_tokens: list[int] = field(default_factory=list)
    """Tokens whose keys and values are in the KV cache."""
    generation: Generation | None = None
    """Completion in progress; None while the slot is idle."""
    random: random.Random = field(default_factory=random.Random)
    """Random numbers of the request in progress, seeded by it."""
    prefix_source: Slot | None = None
    """Slot whose prefix is to be copied as soon as it is cached there."""

    def pending(self, generation: Generation) -> list[int]:
        """Return the tokens that must be decoded before the next one can be sampled."""
        prompt = generation.request.prompt_token_ids
        if len(self.cached_tokens) < len(prompt):
            return [*prompt[len(self.cached_tokens) :], *generation.token_ids]
        return generation.token_ids[len(self.cached_tokens) - len(prompt) :]

    @property
    def expected_tokens(self) -> Sequence[int]:
        """Tokens that are or will be cached: the prompt in progress if it is longer, else `cached_tokens`."""
        prompt = self.generation.request.prompt_token_ids if self.generation else ()
        return prompt if len(prompt) > len(self.cached_tokens) else self.cached_tokens


class LlamaEngine:
    """The model in memory, its slots and its queue.

    `slots` is the maximum number of sequences at once. `context_tokens` is the KV cache of all slots together, in
    tokens. `gpu_layers` is the number of layers on the GPU, if llama.cpp was built for one; there llama.cpp decides
    whether to use flash attention. `on_progress` is called often while the model is loaded and decodes. `end_token`
    ends answers if the file names no end token. Raises ConselfError if llama.cpp cannot load the model.
    """

    def __init__(
        self,
        model_path: Path,
        *,
        slots: int,
        context_tokens: int,
        threads: int,
        gpu_layers: int = 0,
        on_progress: Callable[[], None] = lambda: None,
        end_token: int | None = None,
    ) -> None:
        if slots < 1 or context_tokens < 64 or threads < 1:
            raise ValueError("slots >= 1, context_tokens >= 64 and threads >= 1 are needed")
        keep_warnings_only()
        ll.llama_backend_init()
        params = model_params()
        params.n_gpu_layers = gpu_layers
        self._progress = LlamaProgress(on_progress)
        params.progress_callback = self._progress.while_loading
        overrides = end_token_override(end_token)
        params.kv_overrides = overrides
        self._model = ll.llama_model_load_from_file(str(model_path).encode(), params)
        if not self._model:
            raise ConselfError(
                f"llama.cpp cannot load {model_path}",
                "download the file again if it is damaged, or update llama-cpp-python if its architecture is new",
            )
        if ll.llama_model_has_encoder(self._model) or ll.llama_model_is_diffusion(self._model):
            raise ConselfError(f"{model_path} is not a model that continues text", "use a chat model")
        self._shares_prefixes = not (ll.llama_model_is_recurrent(self._model) or ll.llama_model_is_hybrid(self._model))
        self.vocabulary = Vocabulary(self._model)
        self._max_slots, self._threads = slots, threads
        self._context_tokens = context_tokens
        self._longest = min(context_tokens, int(ll.llama_model_n_ctx_train(self._model)))
        self._batch = ll.llama_batch_init(BATCH_TOKENS, 0, 1)
        self._slots: list[Slot] = []
        self._slot_tokens = 0
        self._context = self._memory = None
        self._queue = RequestQueue()
        self._adapters: dict[Path, ctypes.c_void_p] = {}
        self._adapter: Path | None = None
        self.sampled_tokens = 0
        """Number of tokens sampled since the engine was made."""

    def _allocate_context(self, slot_tokens: int) -> None:
        """Make a new context with as many slots of at least `slot_tokens` tokens as the KV cache has room for."""
        if self._context:
            ll.llama_free(self._context)
        rounded = padded_tokens(slot_tokens)
        slots = max(1, min(self._max_slots, self._context_tokens // rounded))
        params = ll.llama_context_default_params()
        params.n_ctx = slots * rounded
        params.n_batch = params.n_ubatch = BATCH_TOKENS
        params.n_seq_max = slots
        params.n_threads = params.n_threads_batch = self._threads
        params.kv_unified = False
        params.no_perf = True
        self._context = ll.llama_init_from_model(self._model, params)
        if not self._context:
            raise ConselfError("llama.cpp cannot allocate the context", "lower --slots or use a smaller model")
        self._memory = ll.llama_get_memory(self._context)
        self._slots = [Slot(i) for i in range(slots)]
        self._slot_tokens = rounded
        self._activate(self._adapter)

    def tokenize(self, text: str, special: bool = True) -> list[int]:
        """Return the token ids of a text (`Vocabulary.tokenize`)."""
        return self.vocabulary.tokenize(text, special)

    def detokenize(self, token_ids: Sequence[int]) -> str:
        """Return the text of a completion's tokens (`Vocabulary.detokenize`)."""
        return self.vocabulary.detokenize(token_ids)

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
        return bool(self.waiting) or any(s.generation for s in self._slots)

    def step(self) -> Iterator[Completion]:
        """Fill free slots, decode one batch, sample one token per requested row of logits; yield what has ended.

        Raises ConselfError if llama.cpp cannot decode the batch.
        """
        yield from self._admit()
        self._close_gaps()
        rows = self._fill_batch()
        if not self._batch.n_tokens:
            return
        if not self._progress.decode(self._context, self._batch):
            raise ConselfError("llama.cpp could not decode a batch", "lower --slots or close other programs")
        for (slot, generation), logits in zip(rows, self._wanted_logits(len(rows)), strict=True):
            finish = self._sample_token(slot, generation, logits)
            if finish:
                yield self._release(slot, generation, finish)

    def under_way(self) -> Iterator[Generation]:
        """Iterate over the completions in progress."""
        return (slot.generation for slot in self._slots if slot.generation)

    def cancel(self, key: str) -> None:
        """Forget the request of this key, waiting or in progress; no completion follows."""
        self._queue.remove(key)
        for slot in self._slots:
            if slot.generation and slot.generation.request.key == key:
                self._free(slot, slot.generation)

    @property
    def slots_are_sampling(self) -> bool:
        """Whether every slot has sampled at least one token of its request."""
        return all(slot.generation and slot.generation.token_ids for slot in self._slots)

    def set_threads(self, threads: int) -> None:
        """Use this number of threads from the next decode on."""
        self._threads = threads
        if self._context:
            ll.llama_set_n_threads(self._context, threads, threads)

    def measure(self, prompts: Sequence[Sequence[int]], seconds: float, max_new_tokens: int) -> float:
        """Return tokens per second with every slot busy, over about `seconds` from the first full step on.

        The KV cache is cleared at the end. Call it only while idle.
        """
        rate = measure_rate(self, prompts, seconds, max_new_tokens, slots=self._max_slots, adapter=self._adapter)
        self._queue.clear()
        for slot in self._slots:
            slot.generation = slot.prefix_source = None
        self._clear()
        return rate

    def _admit(self) -> Iterator[Completion]:
        while True:
            idle = not any(s.generation for s in self._slots)
            request = self._queue.first(self._adapter, idle)
            if request is None:
                return
            refusal = does_not_fit(request, self._longest)
            if refusal:
                self._queue.take(request)
                yield refusal
                continue
            if self._needed(request) > self._slot_tokens:
                if not idle:
                    return
                self._allocate_context(max(self._needed(r) for r in self._queue))
            self.use_adapter(request.adapter)
            free = [s for s in self._slots if not s.generation]
            if not free:
                return
            self._queue.take(request)
            self._start(request, free)

    def _needed(self, request: SampleRequest) -> int:
        return min(len(request.prompt_token_ids) + request.max_new_tokens, self._longest)

    def _start(self, request: SampleRequest, free: list[Slot]) -> None:
        prompt = request.prompt_token_ids
        if len(self._slots) == 1:
            self._clear()
        own = max(free, key=lambda s: (_common_prefix(s.cached_tokens, prompt), -len(s.cached_tokens)))
        prefix_source = max(self._slots, key=lambda s: _common_prefix(s.expected_tokens, prompt))
        kept = _reusable_tokens(own.cached_tokens, prompt) if self._shares_prefixes else 0
        ll.llama_memory_seq_rm(self._memory, own.index, kept, -1)
        del own.cached_tokens[kept:]
        own.generation, own.random = Generation(request), random.Random(request.seed)
        own.prefix_source = prefix_source if prefix_source is not own and self._shares_prefixes else None
        self._copy_shared_prefix(own, own.generation)

    def _copy_shared_prefix(self, slot: Slot, generation: Generation) -> None:
        """Copy the shared prefix as soon as its source has cached it; forget a source that no longer has it."""
        prefix_source = slot.prefix_source
        if prefix_source is None:
            return
        prompt = generation.request.prompt_token_ids
        shared = _reusable_tokens(prefix_source.expected_tokens, prompt)
        if shared < len(slot.cached_tokens) + _MIN_COPIED_TOKENS:
            slot.prefix_source = None
        elif len(prefix_source.cached_tokens) >= shared:
            self._copy(prefix_source, slot)
            ll.llama_memory_seq_rm(self._memory, slot.index, shared, -1)
            del slot.cached_tokens[shared:]
            slot.prefix_source = None

    def _copy(self, source: Slot, target: Slot) -> None:
        """Copy the whole sequence: llama.cpp copies a stream as a whole, at the beginning of the next decode."""
        ll.llama_memory_seq_rm(self._memory, target.index, -1, -1)
        ll.llama_memory_seq_cp(self._memory, source.index, target.index, -1, -1)
        target.cached_tokens = list(source.cached_tokens)

    def _close_gaps(self) -> None:
        """Move the highest busy slots into idle ones below them."""
        low, high = 0, len(self._slots) - 1
        while True:
            while low < high and self._slots[low].generation:
                low += 1
            while low < high and not self._slots[high].generation:
                high -= 1
            if low >= high:
                return
            idle, busy = self._slots[low], self._slots[high]
            self._copy(busy, idle)
            ll.llama_memory_seq_rm(self._memory, busy.index, -1, -1)
            idle.cached_tokens = []
            idle.index, busy.index = busy.index, idle.index
            self._slots[low], self._slots[high] = busy, idle

    def _fill_batch(self) -> list[tuple[Slot, Generation]]:
        busy = [(s, s.generation) for s in self._slots if s.generation]
        for slot, generation in busy:  # before tokens are added: until then, all cached tokens are decoded
            self._copy_shared_prefix(slot, generation)
        rows: list[tuple[Slot, Generation]] = []
        batch, n = self._batch, 0
        for slot, generation in busy:
            if slot.prefix_source:
                continue
            pending = slot.pending(generation)[: BATCH_TOKENS - n]
            done = len(slot.cached_tokens)
            for token in pending:
                batch.token[n], batch.pos[n] = token, done
                batch.n_seq_id[n], batch.seq_id[n][0] = 1, slot.index
                batch.logits[n] = False
                n, done = n + 1, done + 1
            slot.cached_tokens += pending
            if pending and done == generation.length:
                batch.logits[n - 1] = True
                rows.append((slot, generation))
        batch.n_tokens = n
        return rows

    def _wanted_logits(self, n: int) -> Logits:
        """Return the logits of the `n` tokens of the batch that asked for them, in batch order: (n, V)."""
        if not n:
            return np.empty((0, self.vocabulary.size), dtype=np.float32)
        return np.ctypeslib.as_array(ll.llama_get_logits(self._context), shape=(n, self.vocabulary.size))

    def _sample_token(self, slot: Slot, generation: Generation, logits: Logits) -> Finish | None:
        request = generation.request
        choice = choose_token(logits, request.temperature, request.top_p, slot.random.random())
        generation.add(choice.token, choice.nll, choice.entropy_bits)
        self.sampled_tokens += 1
        if self.vocabulary.ends(choice.token):
            return "end-token"
        return generation.finish_with(self.vocabulary.piece(choice.token), self._longest)

    def _release(self, slot: Slot, generation: Generation, finish: Finish) -> Completion:
        self._free(slot, generation)
        return generation.completion(finish)

    def _free(self, slot: Slot, generation: Generation) -> None:
        """Let the slot take another request; it keeps what is cached of the prompt."""
        slot.generation = slot.prefix_source = None
        keep = len(generation.request.prompt_token_ids)
        ll.llama_memory_seq_rm(self._memory, slot.index, keep, -1)
        del slot.cached_tokens[keep:]

    # -- adapters and scores --------------------------------------------------------------------------------

    def use_adapter(self, path: Path | None) -> None:
        """Switch the whole context to a GGUF LoRA, or to the base for None, and clear the KV cache.

        Call it only while idle. Raises ConselfError if llama.cpp cannot load the adapter.
        """
        if path == self._adapter:
            return
        assert not any(s.generation for s in self._slots), "an adapter is switched only between requests"
        if path and path not in self._adapters:
            adapter = ll.llama_adapter_lora_init(self._model, str(path).encode())
            if not adapter:
                raise ConselfError(
                    f"llama.cpp cannot load the adapter {path}", "use an adapter that was trained on this model"
                )
            self._adapters[path] = adapter
        self._adapter = path
        if self._context:
            self._activate(path)
            self._clear()

    def _activate(self, path: Path | None) -> None:
        loaded = [self._adapters[path]] if path else []
        pointers = (ll.llama_adapter_lora_p_ctypes * len(loaded))(*loaded) if loaded else None
        scales = (ctypes.c_float * 1)(1.0) if loaded else None
        if ll.llama_set_adapters_lora(self._context, pointers, len(loaded), scales) != 0:
            raise ConselfError(
                f"llama.cpp cannot switch to the adapter {path}", "use an adapter that was trained on this model"
            )

    def _clear(self) -> None:
        ll.llama_memory_clear(self._memory, True)
        for slot in self._slots:
            slot.cached_tokens = []

    def score(self, prompt: Sequence[int], completion: Sequence[int], adapter: Path | None) -> list[float]:
        """Return the log-probability (nats, temperature 1) of each completion token; call it only while idle.

        Raises ConselfError if the prompt has no tokens, or prompt and completion do not fit the context.
        """
        tokens = [*prompt, *completion]
        if not prompt or len(tokens) > self._longest:
            raise ConselfError(
                f"{len(tokens)} tokens do not fit the context of {self._longest}", "use a larger context"
            )
        if len(tokens) > self._slot_tokens:
            self._allocate_context(len(tokens))
        self.use_adapter(adapter)
        self._clear()
        scores: list[float] = []
        for start in range(0, len(tokens), BATCH_TOKENS):
            chunk = tokens[start : start + BATCH_TOKENS]
            for n, token in enumerate(chunk):
                position = start + n
                self._batch.token[n], self._batch.pos[n] = token, position
                self._batch.n_seq_id[n], self._batch.seq_id[n][0] = 1, 0
                self._batch.logits[n] = len(prompt) - 1 <= position < len(tokens) - 1
            self._batch.n_tokens = len(chunk)
            if not self._progress.decode(self._context, self._batch):
                raise ConselfError("llama.cpp could not decode a batch", "close other programs and start again")
            scored = [start + n + 1 for n in range(len(chunk)) if self._batch.logits[n]]
            for position, logits in zip(scored, self._wanted_logits(len(scored)), strict=True):
                scores.append(-token_uncertainty(logits, tokens[position])[0])
        self._clear()
        return scores


def _reusable_tokens(cached_tokens: Sequence[int], prompt: Sequence[int]) -> int:
    """Return how many prompt tokens need not be decoded; the last one always is, because its logits are needed."""
    return min(_common_prefix(cached_tokens, prompt), len(prompt) - 1)


def _common_prefix(cached_tokens: Sequence[int], prompt: Sequence[int]) -> int:
    n = 0
    for a, b in zip(cached_tokens, prompt, strict=False):
        if a != b:
            break
        n += 1
    return n
