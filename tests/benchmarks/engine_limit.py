"""How near the engine comes to a bare decode loop: same weights, slots, threads, prompts and number of tokens.

By hand, on an idle machine: `python -m tests.benchmarks.engine_limit [MODEL.gguf]`. The bare loop computes every prompt once, copies
it to the sequences that answer it, and then only decodes: full batches in waves of equal length, the likeliest token each
time, no queue, no text, no end, no uncertainty. The rounds are interleaved.
"""

from __future__ import annotations

import argparse
import ctypes
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

import llama_cpp as ll
import numpy as np

from conself_local.bundled import bundled_model
from conself_local.home import Home
from conself_local.sampling.chat_template import render_chat
from conself_local.sampling.gguf_file import load_model_file
from conself_local.sampling.llama_engine import BATCH_TOKENS, LlamaEngine
from conself_local.sampling.running_copy import make_running_copy
from conself_local.sampling.sampler import SampleRequest
from tests.benchmarks.sampling_speed import MAX_TOKENS, SAMPLES, TEMPERATURE, TOP_P, load_prompts


class BareLoop:
    def __init__(self, weights: Path, slots: int, tokens_a_slot: int, threads: int) -> None:
        self._model = ll.llama_model_load_from_file(str(weights).encode(), ll.llama_model_default_params())
        params = ll.llama_context_default_params()
        params.n_ctx, params.n_seq_max = slots * tokens_a_slot, slots
        params.n_batch = params.n_ubatch = BATCH_TOKENS
        params.n_threads = params.n_threads_batch = threads
        params.kv_unified = False
        self._context = ll.llama_init_from_model(self._model, params)
        self._memory = ll.llama_get_memory(self._context)
        self._vocabulary = ll.llama_vocab_n_tokens(ll.llama_model_get_vocab(self._model))
        self._batch = ll.llama_batch_init(BATCH_TOKENS, 0, 1)
        self._slots = slots

    def _decode(self, rows: Sequence[tuple[int, int, int, bool]]) -> None:
        for n, (token, position, sequence, wanted) in enumerate(rows):
            self._batch.token[n], self._batch.pos[n] = token, position
            self._batch.n_seq_id[n], self._batch.seq_id[n][0] = 1, sequence
            self._batch.logits[n] = wanted
        self._batch.n_tokens = len(rows)
        assert ll.llama_decode(self._context, self._batch) == 0

    def _likeliest(self, row: int) -> int:
        return int(np.ctypeslib.as_array(ll.llama_get_logits_ith(self._context, row), shape=(self._vocabulary,)).argmax())

    def run(self, prompts: Sequence[Sequence[int]], length: int) -> float:
        """Seconds for SAMPLES answers of `length` tokens to every prompt."""
        started = time.perf_counter()
        answers = [prompt for prompt in prompts for _ in range(SAMPLES)]
        for first in range(0, len(answers), self._slots):
            self._wave(answers[first : first + self._slots], length)
        return time.perf_counter() - started

    def _wave(self, prompts: Sequence[Sequence[int]], length: int) -> None:
        ll.llama_memory_clear(self._memory, True)
        tokens: list[int] = []
        for s, prompt in enumerate(prompts):
            if s and prompt is prompts[s - 1]:
                ll.llama_memory_seq_cp(self._memory, s - 1, s, -1, -1)
                tokens.append(tokens[-1])
                continue
            self._decode([(t, i, s, i == len(prompt) - 1) for i, t in enumerate(prompt)])
            tokens.append(self._likeliest(len(prompt) - 1))
        for step in range(length - 1):
            self._decode([(tokens[s], len(prompts[s]) + step, s, True) for s in range(len(prompts))])
            tokens = [self._likeliest(s) for s in range(len(prompts))]

    def close(self) -> None:
        ll.llama_free(self._context)
        ll.llama_model_free(self._model)


def _run_engine(engine: LlamaEngine, prompts: Sequence[Sequence[int]]) -> tuple[int, float]:
    """(tokens, seconds)"""
    for i, prompt in enumerate(prompts):
        for k in range(SAMPLES):
            engine.submit(SampleRequest(f"{i}/{k}", tuple(prompt), TEMPERATURE, TOP_P, MAX_TOKENS, i * SAMPLES + k))
    tokens, started = 0, time.perf_counter()
    while engine.busy:
        tokens += sum(len(completion.token_ids) for completion in engine.step())
    return tokens, time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", nargs="?", type=Path)
    parser.add_argument("--slots", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--problems", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    model = load_model_file(arguments.model or bundled_model())
    weights = make_running_copy(model, "BF16", Home(None).cache)
    engine = LlamaEngine(weights, slots=arguments.slots, context_tokens=arguments.slots * 512, threads=arguments.threads)
    prompts = [
        engine.tokenize(render_chat(model.chat_template, messages, model.bos_token, model.eos_token))
        for messages in load_prompts(arguments.problems)
    ]
    ll.llama_log_set(_silent, ctypes.c_void_p(0))
    bare = BareLoop(weights, arguments.slots, 512, arguments.threads)
    ratios = []
    for _ in range(arguments.rounds):
        tokens, seconds = _run_engine(engine, prompts)
        length = round(tokens / (len(prompts) * SAMPLES))
        bare_seconds = bare.run(prompts, length)
        ours, bound = tokens / seconds, len(prompts) * SAMPLES * length / bare_seconds
        ratios.append(ours / bound)
        print(f"engine {ours:5.0f} tokens/s, bare loop {bound:5.0f} tokens/s, {length} tokens an answer: {ratios[-1]:.2f}", flush=True)
    print(f"engine / bare loop: {statistics.median(ratios):.2f}")
    bare.close()


@ll.llama_log_callback  # type: ignore[untyped-decorator]
def _silent(level: int, text: bytes, user_data: object) -> None:
    """Nothing is told."""


if __name__ == "__main__":
    main()
