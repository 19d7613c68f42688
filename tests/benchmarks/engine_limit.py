"""Compare the engine with a bare decode loop: same weights, slots, threads, prompts and number of tokens.

Run by hand on an idle machine: `python -m tests.benchmarks.engine_limit [MODEL.gguf]`. The bare loop computes every
prompt once, copies it to the sequences that answer it, and then only decodes: full batches in waves of equal length,
the most likely token each time, no queue, no text, no end token, no uncertainty. The rounds are interleaved. Both are
timed while every slot is busy. The engine's rate over the whole run is printed as well: it includes the end, where the
last answers no longer fill the batch.
"""

from __future__ import annotations

import argparse
import ctypes
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import llama_cpp as ll
import numpy as np

from conself_local.home import Home
from conself_local.model_files.bundled import bundled_model
from conself_local.model_files.chat_template import TemplateRenderer
from conself_local.model_files.converted_weights import ensure_converted_weights
from conself_local.model_files.model_file import load_model_file
from conself_local.sampling.amx import model_params
from conself_local.sampling.llama_engine import BATCH_TOKENS, LlamaEngine
from conself_local.sampling.sampler import SampleRequest
from tests.benchmarks.sampling_speed import MAX_TOKENS, SAMPLES, TEMPERATURE, TOP_P, load_prompts


class BareLoop:
    """A loop over `llama_decode` with full batches and the most likely token, and nothing else."""

    def __init__(self, weights: Path, slots: int, tokens_per_slot: int, threads: int) -> None:
        self._model = ll.llama_model_load_from_file(str(weights).encode(), model_params())
        params = ll.llama_context_default_params()
        params.n_ctx, params.n_seq_max = slots * tokens_per_slot, slots
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
        return int(
            np.ctypeslib.as_array(ll.llama_get_logits_ith(self._context, row), shape=(self._vocabulary,)).argmax()
        )

    def run(self, prompts: Sequence[Sequence[int]], length: int) -> float:
        """Return the tokens per second over whole waves of answers of `length` tokens each.

        Every prompt gets SAMPLES answers; those that do not fill a last wave are dropped.
        """
        answers = [prompt for prompt in prompts for _ in range(SAMPLES)]
        waves = len(answers) // self._slots
        started = time.perf_counter()
        for wave in range(waves):
            self._wave(answers[wave * self._slots : (wave + 1) * self._slots], length)
        return waves * self._slots * length / (time.perf_counter() - started)

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
        """Free the context and the model."""
        ll.llama_free(self._context)
        ll.llama_model_free(self._model)


@dataclass(frozen=True)
class EngineRun:
    """The rates of one run of the engine."""

    full: float
    """Tokens per second while requests were waiting."""
    whole: float
    """Tokens per second over the whole run, its end included."""
    tokens_per_answer: int


def _run_engine(engine: LlamaEngine, prompts: Sequence[Sequence[int]]) -> EngineRun:
    for i, prompt in enumerate(prompts):
        for k in range(SAMPLES):
            engine.submit(SampleRequest(f"{i}/{k}", tuple(prompt), TEMPERATURE, TOP_P, MAX_TOKENS, i * SAMPLES + k))
    before, started = engine.sampled_tokens, time.perf_counter()
    full = 0.0
    while engine.busy:
        for _ in engine.step():
            continue
        if engine.waiting:
            full = (engine.sampled_tokens - before) / (time.perf_counter() - started)
    tokens = engine.sampled_tokens - before
    return EngineRun(full, tokens / (time.perf_counter() - started), round(tokens / (len(prompts) * SAMPLES)))


def main() -> None:
    """Print the ratio of the engine's rate to the bare loop's for every round, and the median."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", nargs="?", type=Path)
    parser.add_argument("--slots", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--problems", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    model = load_model_file(arguments.model or bundled_model())
    weights = ensure_converted_weights(model, "BF16", Home(None).cache)
    engine = LlamaEngine(
        weights, slots=arguments.slots, context_tokens=arguments.slots * 512, threads=arguments.threads
    )
    with TemplateRenderer(model.chat_template, model.special_tokens) as renderer:
        prompts = [engine.tokenize(renderer.render(messages)) for messages in load_prompts(arguments.problems)]
    ll.llama_log_set(_silent, ctypes.c_void_p(0))
    bare = BareLoop(weights, arguments.slots, 512, arguments.threads)
    ratios = []
    for _ in range(arguments.rounds):
        ours = _run_engine(engine, prompts)
        bound = bare.run(prompts, ours.tokens_per_answer)
        ratios.append(ours.full / bound)
        print(
            f"engine {ours.full:.0f} tokens/s ({ours.whole:.0f} over the whole run), bare loop {bound:.0f}, "
            f"{ours.tokens_per_answer} tokens per answer: {ratios[-1]:.2f}",
            flush=True,
        )
    print(f"engine / bare loop: {statistics.median(ratios):.2f}")
    bare.close()


@ll.llama_log_callback  # type: ignore[untyped-decorator]
def _silent(level: int, text: bytes, user_data: object) -> None:
    """Drop the message."""


if __name__ == "__main__":
    main()
