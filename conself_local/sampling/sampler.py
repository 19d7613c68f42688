"""Define the interface between a round and an engine that samples text: plain values in, plain values out.

Covered: the requests to an engine and the completions that it returns. Not covered: prompts (`prompts.py`) and the
extraction of programs from completions (`extract.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

Finish = Literal["end-token", "fence", "length", "repetition", "too-long"]
"""Why a completion ended; `too-long` means that the prompt did not fit the context and nothing was sampled."""


@dataclass(frozen=True)
class ChatMessage:
    """One message of a chat, before the chat template is applied."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True)
class EncodedPrompt:
    """A prompt as text and as token ids."""

    text: str
    """The rendered chat template and, after it, the answer prefix."""
    token_ids: tuple[int, ...]


@dataclass(frozen=True)
class SampleRequest:
    """One completion to sample, with its sampling settings."""

    key: str
    """Name of the completion; unique among the requests in flight."""
    prompt_token_ids: tuple[int, ...]
    temperature: float
    """Sampling temperature; 0 is greedy."""
    top_p: float
    max_new_tokens: int
    seed: int
    """32 bits, derived from (round seed, problem, observation, sample index), never from slot or order."""
    answer_prefix: str = ""
    """Beginning of the answer that the prompt holds already; it is read only to find where a code block ends."""
    stop_at_fence: bool = False
    """Whether to stop at the fence that closes the first code block."""
    stop_at_repetition: bool = False
    """Whether to stop at a loop (`generation.is_repeating`)."""
    adapter: Path | None = None
    """LoRA adapter: a GGUF file for llama.cpp, a folder for mlx-lm; None for the base model."""
    stream: bool = False
    """Whether to send the text while it is generated (`EngineProcess.stream`)."""


@dataclass(frozen=True)
class Completion:
    """A sampled completion and the model's uncertainty about it."""

    key: str
    text: str
    """The sampled text, without the answer prefix and without the end token."""
    token_ids: tuple[int, ...]
    """The sampled token ids, including the end token if it was sampled."""
    finish: Finish
    mean_nll: float | None
    """Negative log-likelihood in nats per token: mean over the completion, untruncated distribution at temperature 1.

    None if the completion is empty or the engine does not report it.
    """
    mean_entropy_bits: float | None
    """Entropy of the 15 likeliest tokens, renormalised, in bits: mean over the completion; None as for `mean_nll`."""


class Sampler(Protocol):
    """The methods of an engine that a round uses."""

    def encode(
        self, messages: Sequence[ChatMessage], answer_prefix: str = "", *, thinking: bool = False
    ) -> EncodedPrompt:
        """Render the model's own chat template, append the answer prefix, and tokenise the text."""
        ...

    def sample(self, requests: Iterable[SampleRequest]) -> Iterator[Completion]:
        """Yield one completion for every request, in the order in which they end."""
        ...

    def score(
        self, prompt_token_ids: Sequence[int], completion_token_ids: Sequence[int], adapter: Path | None = None
    ) -> list[float]:
        """Return the log-probability (nats, temperature 1) of each completion token after the prompt."""
        ...

    def close(self) -> None:
        """End the engine; it cannot be used afterwards."""
        ...
