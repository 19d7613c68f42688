"""Continuous batching over llama.cpp's low-level API: one decode a step for every slot, one queue over all prompts.

A slot is a llama.cpp sequence. A free slot takes the next request at once; what its prompt shares with tokens
that any slot still holds is copied inside the KV memory (one unified pool, so a copy costs no computation).
Rows of a batch are in order of their slot. With one slot nothing is shared and the memory is cleared before
every prompt, so equal requests give equal answers whatever ran before.

Runs in a process of its own (`llama_server.py`): a failed assertion of ggml ends the process.
Not covered: prompts, templates, JSON. Source of the API: llama.h at llama-cpp-python 0.3.20 and later.
"""

from __future__ import annotations

import ctypes
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import llama_cpp as ll
import numpy as np
import numpy.typing as npt

from conself_local.errors import ConselfError
from conself_local.sampling.extract import block_is_closed
from conself_local.sampling.sampler import Completion, Finish, SampleRequest

BATCH_TOKENS = 512
TOP_ENTROPY = 15
_REPEAT_PERIOD = 24
_REPEAT_TIMES = 4


@ll.llama_log_callback  # type: ignore[untyped-decorator]
def _keep_warnings(level: int, text: bytes, user_data: object) -> None:
    if level >= 3:  # GGML_LOG_LEVEL_WARN
        print(text.decode(errors="replace"), end="", file=sys.stderr)


@dataclass
class Slot:
    """One llama.cpp sequence: the request it answers and the tokens that its KV memory holds."""

    index: int
    held: list[int] = field(default_factory=list)
    request: SampleRequest | None = None
    chain: ctypes.c_void_p | None = None
    sampled: list[int] = field(default_factory=list)
    text: bytearray = field(default_factory=bytearray)
    nll_sum: float = 0.0
    entropy_sum: float = 0.0
    reserved: int = 0

    @property
    def wanted(self) -> list[int]:
        """Every token that the sequence should hold before the next one can be sampled."""
        assert self.request is not None, "an idle slot wants nothing"
        return [*self.request.prompt_token_ids, *self.sampled]


class LlamaEngine:
    """The model in memory, its slots and its queue. Raises ConselfError where llama.cpp returns null."""

    def __init__(self, model_path: Path, *, slots: int, context_tokens: int, threads: int) -> None:
        if slots < 1 or context_tokens < 64 or threads < 1:
            raise ValueError("slots >= 1, context_tokens >= 64 and threads >= 1 are needed")
        ll.llama_log_set(_keep_warnings, ctypes.c_void_p(0))
        ll.llama_backend_init()
        model_params = ll.llama_model_default_params()
        self._model = ll.llama_model_load_from_file(str(model_path).encode(), model_params)
        if not self._model:
            raise ConselfError(f"llama.cpp cannot load {model_path}", "the file may be damaged or its architecture unknown")
        params = ll.llama_context_default_params()
        params.n_ctx = context_tokens
        params.n_batch = params.n_ubatch = BATCH_TOKENS
        params.n_seq_max = slots
        params.n_threads = params.n_threads_batch = threads
        params.kv_unified = True
        params.no_perf = True
        self._context = ll.llama_init_from_model(self._model, params)
        if not self._context:
            raise ConselfError("llama.cpp cannot make room for the context", "lower --slots or use a smaller model")
        self._memory = ll.llama_get_memory(self._context)
        self._vocab = ll.llama_model_get_vocab(self._model)
        self._vocab_size = ll.llama_vocab_n_tokens(self._vocab)
        self._context_tokens = int(ll.llama_n_ctx(self._context))
        self._longest = min(self._context_tokens, int(ll.llama_model_n_ctx_train(self._model)))
        self._batch = ll.llama_batch_init(BATCH_TOKENS, 0, 1)
        self._slots = [Slot(i) for i in range(slots)]
        self._queue: deque[SampleRequest] = deque()
        self._adapters: dict[Path, ctypes.c_void_p] = {}
        self._adapter: Path | None = None

    # -- tokens ---------------------------------------------------------------------------------------------

    def tokenize(self, text: str) -> list[int]:
        """Special tokens of the template are read as such; a beginning token is added where the vocabulary asks."""
        raw = text.encode()
        room = len(raw) + 8
        buffer = (ll.llama_token * room)()
        adds_bos = bool(ll.llama_vocab_get_add_bos(self._vocab))
        count = ll.llama_tokenize(self._vocab, raw, len(raw), buffer, room, adds_bos, True)
        if count < 0:
            raise ConselfError("the model's tokenizer failed on a prompt", "use another model file")
        ids = list(buffer[:count])
        bos = ll.llama_vocab_bos(self._vocab)
        return ids[1:] if adds_bos and ids[:2] == [bos, bos] else ids

    def _piece(self, token: int) -> bytes:
        buffer = ctypes.create_string_buffer(64)
        size = ll.llama_token_to_piece(self._vocab, token, buffer, 64, 0, False)
        if size < 0:
            buffer = ctypes.create_string_buffer(-size)
            size = ll.llama_token_to_piece(self._vocab, token, buffer, -size, 0, False)
        return buffer.raw[:size]

    # -- the queue ------------------------------------------------------------------------------------------

    def submit(self, request: SampleRequest) -> None:
        self._queue.append(request)

    @property
    def busy(self) -> bool:
        return bool(self._queue) or any(s.request for s in self._slots)

    def step(self) -> Iterator[Completion]:
        """Fill free slots, decode one batch, sample one token for every row that asked; yield what has ended."""
        yield from self._admit()
        rows = self._fill_batch()
        if not self._batch.n_tokens:
            return
        if ll.llama_decode(self._context, self._batch) != 0:
            raise ConselfError("llama.cpp could not decode a batch", "lower --slots or close other programs")
        for slot, row in rows:
            finish = self._sample_token(slot, row)
            if finish:
                yield self._release(slot, finish)

    def _admit(self) -> Iterator[Completion]:
        while self._queue:
            request = self._queue[0]
            size = len(request.prompt_token_ids)
            if not size or size + 1 > self._longest:
                self._queue.popleft()
                yield Completion(request.key, "", (), "too-long", None, None)
                continue
            active = [s for s in self._slots if s.request]
            if request.adapter != self._adapter:
                if active:
                    return
                self.use_adapter(request.adapter)
            free = [s for s in self._slots if not s.request]
            reserved = min(size + request.max_new_tokens, self._longest)
            if not free or sum(s.reserved for s in active) + reserved > self._context_tokens:
                return
            self._queue.popleft()
            self._start(request, free, reserved)

    def _start(self, request: SampleRequest, free: list[Slot], reserved: int) -> None:
        prompt = request.prompt_token_ids
        if len(self._slots) == 1:
            self._clear()
        best = max(self._slots, key=lambda s: _common_prefix(s.held, prompt))
        shared = min(_common_prefix(best.held, prompt), len(prompt) - 1)
        slot = best if best in free else min(free, key=lambda s: len(s.held))
        if slot is not best:
            ll.llama_memory_seq_rm(self._memory, slot.index, -1, -1)
            if shared:
                ll.llama_memory_seq_cp(self._memory, best.index, slot.index, 0, shared)
        else:
            ll.llama_memory_seq_rm(self._memory, slot.index, shared, -1)
        slot.held = list(prompt[:shared])
        slot.request, slot.reserved = request, reserved
        slot.sampled, slot.text = [], bytearray()
        slot.nll_sum = slot.entropy_sum = 0.0
        slot.chain = _make_chain(request)
        held = sum(s.reserved if s.request else len(s.held) for s in self._slots)
        for idle in sorted((s for s in self._slots if not s.request), key=lambda s: -len(s.held)):
            if held <= self._context_tokens:
                break
            held -= len(idle.held)
            ll.llama_memory_seq_rm(self._memory, idle.index, -1, -1)
            idle.held = []

    def _fill_batch(self) -> list[tuple[Slot, int]]:
        rows: list[tuple[Slot, int]] = []
        batch, n = self._batch, 0
        for slot in self._slots:
            if slot.request is None:
                continue
            wanted = slot.wanted
            for position in range(len(slot.held), len(wanted)):
                if n == BATCH_TOKENS:
                    break
                batch.token[n], batch.pos[n] = wanted[position], position
                batch.n_seq_id[n], batch.seq_id[n][0] = 1, slot.index
                batch.logits[n] = position == len(wanted) - 1
                if batch.logits[n]:
                    rows.append((slot, n))
                slot.held.append(wanted[position])
                n += 1
        batch.n_tokens = n
        return rows

    def _sample_token(self, slot: Slot, row: int) -> Finish | None:
        request = slot.request
        assert request is not None, "only a busy slot has a row in the batch"
        token = int(ll.llama_sampler_sample(slot.chain, self._context, row))
        logits = np.ctypeslib.as_array(ll.llama_get_logits_ith(self._context, row), shape=(self._vocab_size,))
        nll, entropy = token_uncertainty(logits, token)
        slot.nll_sum += nll
        slot.entropy_sum += entropy
        slot.sampled.append(token)
        if ll.llama_vocab_is_eog(self._vocab, token):
            return "end-token"
        piece = self._piece(token)
        slot.text += piece
        may_close = request.stop_at_fence and b"`" in piece
        if may_close and block_is_closed(request.answer_prefix + slot.text.decode(errors="replace")):
            return "fence"
        if request.stop_at_repetition and len(slot.sampled) % 16 == 0 and is_repeating(slot.sampled):
            return "repetition"
        full = len(slot.wanted) >= self._longest
        return "length" if full or len(slot.sampled) >= request.max_new_tokens else None

    def _release(self, slot: Slot, finish: Finish) -> Completion:
        request, n = slot.request, len(slot.sampled)
        assert request is not None, "only a busy slot can be released"
        done = Completion(
            request.key, slot.text.decode(errors="replace"), tuple(slot.sampled), finish, slot.nll_sum / n, slot.entropy_sum / n
        )
        ll.llama_sampler_free(slot.chain)
        slot.request, slot.chain, slot.reserved = None, None, 0
        keep = len(request.prompt_token_ids)
        ll.llama_memory_seq_rm(self._memory, slot.index, keep, -1)
        del slot.held[keep:]
        return done

    # -- adapters and scores --------------------------------------------------------------------------------

    def use_adapter(self, path: Path | None) -> None:
        """Switch the whole context to a GGUF LoRA or to the base; KV memory is cleared. Only while idle."""
        assert not any(s.request for s in self._slots), "an adapter is switched only between requests"
        if path == self._adapter:
            return
        if path is None:
            ll.llama_set_adapters_lora(self._context, None, 0, None)
        else:
            if path not in self._adapters:
                adapter = ll.llama_adapter_lora_init(self._model, str(path).encode())
                if not adapter:
                    raise ConselfError(f"llama.cpp refuses the adapter {path}", "it was made for another model")
                self._adapters[path] = adapter
            one = (ll.llama_adapter_lora_p_ctypes * 1)(self._adapters[path])
            if ll.llama_set_adapters_lora(self._context, one, 1, (ctypes.c_float * 1)(1.0)) != 0:
                raise ConselfError(f"llama.cpp cannot switch to the adapter {path}", "it was made for another model")
        self._adapter = path
        self._clear()

    def _clear(self) -> None:
        ll.llama_memory_clear(self._memory, True)
        for slot in self._slots:
            slot.held = []

    def score(self, prompt: Sequence[int], completion: Sequence[int], adapter: Path | None) -> list[float]:
        """Log-probability (nats, temperature 1) of each completion token after the prompt. Only while idle."""
        tokens = [*prompt, *completion]
        if not prompt or len(tokens) > self._context_tokens:
            raise ConselfError(f"{len(tokens)} tokens do not fit the context of {self._context_tokens}", "raise the context")
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
            if ll.llama_decode(self._context, self._batch) != 0:
                raise ConselfError("llama.cpp could not decode a batch", "close other programs and start again")
            for n in range(len(chunk)):
                if self._batch.logits[n]:
                    logits = np.ctypeslib.as_array(ll.llama_get_logits_ith(self._context, n), shape=(self._vocab_size,))
                    scores.append(-token_uncertainty(logits, tokens[start + n + 1])[0])
        self._clear()
        return scores


def token_uncertainty(logits: npt.NDArray[np.float32], token: int) -> tuple[float, float]:
    """(negative log-likelihood of `token` in nats, entropy in bits of the 15 likeliest, renormalised). logits: (V,).

    Untruncated, temperature 1. All logits equal, V >= 15 -> (ln V, log2 15 = 3.9069).
    """
    top = float(logits.max())
    log_sum = top + float(np.log(np.exp(logits - top).sum(dtype=np.float64)))
    likely = logits[logits > top - 12.0]
    k = min(TOP_ENTROPY, len(logits))
    if len(likely) < k:
        likely = logits
    best = np.partition(likely, len(likely) - k)[-k:].astype(np.float64)
    p = np.exp(best - top)
    p /= p.sum()
    entropy = float(-(p * np.log2(np.maximum(p, 1e-300))).sum())
    return log_sum - float(logits[token]), abs(entropy)


def is_repeating(tokens: Sequence[int]) -> bool:
    """Whether the end of the completion is one short piece, at least 8 tokens in all, said `_REPEAT_TIMES` times over."""
    for period in range(1, _REPEAT_PERIOD + 1):
        times = max(_REPEAT_TIMES, -(-16 // period))
        if len(tokens) >= period * times:
            end = list(tokens[-period * times :])
            if end == end[:period] * times:
                return True
    return False


def _common_prefix(held: Sequence[int], prompt: Sequence[int]) -> int:
    n = 0
    for a, b in zip(held, prompt, strict=False):
        if a != b:
            break
        n += 1
    return n


def _make_chain(request: SampleRequest) -> ctypes.c_void_p:
    chain = ll.llama_sampler_chain_init(ll.llama_sampler_chain_default_params())
    if request.temperature <= 0:
        ll.llama_sampler_chain_add(chain, ll.llama_sampler_init_greedy())
        return chain
    ll.llama_sampler_chain_add(chain, ll.llama_sampler_init_temp(request.temperature))
    if request.top_p < 1:
        ll.llama_sampler_chain_add(chain, ll.llama_sampler_init_top_p(request.top_p, 1))
    ll.llama_sampler_chain_add(chain, ll.llama_sampler_init_dist(request.seed))
    return chain
