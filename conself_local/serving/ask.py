"""Ask the model one question and yield the answer while it is generated.

The question goes to the model with its current adapter, to the base model, or to both in turn.
Not covered: conversations of several turns, and running the answer (`try_program.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from conself_local.errors import ConselfError
from conself_local.home import Home
from conself_local.model_files.converted_weights import ORIGINAL
from conself_local.model_files.model_file import ModelFile
from conself_local.sampling.open_engine import open_llama
from conself_local.sampling.sampler import ChatMessage, SampleRequest
from conself_local.store.model_changes import accepted_adapter, verify_model_of
from conself_local.store.store import Store

PROMPT_TOKENS = 3072
"""Tokens of the context that are reserved for the question."""
TOP_P = 0.95


def current_adapter(store: Store, model: ModelFile, adapter_id: int | None) -> Path | None:
    """Return the GGUF file of adapter `adapter_id`, or of the latest accepted one if it is None.

    Returns None if no adapter has been accepted for this model yet. Raises ConselfError if the adapter does not exist,
    was made for another model, or if its file or the model's is missing or has changed.
    """
    if adapter_id is None:
        return store.adapter_file(accepted_adapter(store, model))
    verify_model_of(store.adapter(adapter_id), model)
    return store.adapter_file(adapter_id)


def ask_model(
    home: Home,
    model: ModelFile,
    question: str,
    arms: dict[str, Path | None],
    *,
    temperature: float,
    max_new_tokens: int,
    threads: int,
    use_gpu: bool,
    seed: int = 0,
) -> Iterator[tuple[str, str]]:
    """Yield (arm, newly generated text), one arm after another.

    `arms` maps a name to an adapter file, or to None for the base model. Every arm gets the same prompt and seed and
    samples from the original file; temperature 0 is greedy, top-p is 0.95.
    Raises ConselfError if the question does not fit the context or the model cannot be loaded.
    """
    longest = min(model.context_length, PROMPT_TOKENS + max_new_tokens)
    with open_llama(model, ORIGINAL, home.cache, slots=1, threads=threads, longest=longest, use_gpu=use_gpu) as engine:
        prompt = engine.encode([ChatMessage("user", question)], thinking=True)
        if len(prompt.token_ids) >= longest:
            raise ConselfError(
                f"the question has {len(prompt.token_ids)} tokens, but at most {longest - 1} fit",
                "ask a shorter question",
            )
        for name, adapter in arms.items():
            yield from engine.stream(
                [
                    SampleRequest(
                        name,
                        prompt.token_ids,
                        temperature,
                        TOP_P,
                        max_new_tokens,
                        seed,
                        stop_at_repetition=True,
                        adapter=adapter,
                    )
                ]
            )
