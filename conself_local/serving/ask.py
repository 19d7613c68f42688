"""One question to the model with its current adapter, the answer told as it grows; or to base and adapter, one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from conself_local.errors import ConselfError
from conself_local.home import Home
from conself_local.model_files.converted_weights import ORIGINAL
from conself_local.model_files.model_file import ModelFile
from conself_local.sampling.open_engine import open_llama
from conself_local.sampling.sampler import ChatMessage, SampleRequest
from conself_local.store.store import Store

PROMPT_TOKENS = 3072
_TOP_P = 0.95


def current_adapter(store: Store, model: ModelFile, adapter_id: int | None) -> Path | None:
    """The file of the adapter that was asked for, or of the latest accepted one; None: there is none yet.

    Raises ConselfError for an adapter of another model.
    """
    if adapter_id is not None:
        row = store.adapter(adapter_id)
        if row["model_sha256"] not in (None, model.sha256):
            raise ConselfError(f"adapter {adapter_id} was made for {row['model_path']}", "name that file with --model")
    return store.adapter_file(store.latest_accepted(model.sha256) if adapter_id is None else adapter_id)


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
    """(arm, the text that has come), the arms one after another; arms: name -> adapter file, or None for the base model."""
    longest = min(model.context_length, PROMPT_TOKENS + max_new_tokens)
    with open_llama(model, ORIGINAL, home.cache, slots=1, threads=threads, longest=longest, use_gpu=use_gpu) as engine:
        prompt = engine.encode([ChatMessage("user", question)])
        if len(prompt.token_ids) >= longest:
            raise ConselfError(f"the question has {len(prompt.token_ids)} tokens, and {longest} fit", "ask for less")
        for name, adapter in arms.items():
            yield from engine.stream(
                [
                    SampleRequest(
                        name,
                        prompt.token_ids,
                        temperature,
                        _TOP_P,
                        max_new_tokens,
                        seed,
                        stop_at_repetition=True,
                        adapter=adapter,
                    )
                ]
            )
