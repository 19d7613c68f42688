"""The seam between the round and whatever samples text: plain values in, plain values out.

Covered: what an engine is asked and what it answers. Not covered: prompts (`prompts.py`) and what is
made of an answer (`extract.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

Finish = Literal["end-token", "fence", "length", "repetition", "too-long"]
"""Why a completion ended; `too-long` means that the prompt did not fit and nothing was sampled."""


@dataclass(frozen=True)
class ChatMessage:
    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True)
class EncodedPrompt:
    text: str
    """The rendered chat template and, after it, the answer prefix."""
    token_ids: tuple[int, ...]


@dataclass(frozen=True)
class SampleRequest:
    key: str
    """Names the answer; unique among the requests under way."""
    prompt_token_ids: tuple[int, ...]
    temperature: float
    """0 is greedy."""
    top_p: float
    max_new_tokens: int
    seed: int
    """32 bits; drawn from (round seed, problem, observation, index), never from slot or order."""
    answer_prefix: str = ""
    """The part of the answer that the prompt already holds; only read to see where a code block ends."""
    stop_at_fence: bool = False
    """End at the fence that closes the first code block."""
    stop_at_repetition: bool = False
    adapter: Path | None = None
    """A GGUF LoRA file, or the base model."""
    stream: bool = False
    """Tell the text while it grows (`EngineProcess.stream`)."""


@dataclass(frozen=True)
class Completion:
    key: str
    text: str
    """The sampled text, without the answer prefix and without the end token."""
    token_ids: tuple[int, ...]
    """The sampled ids, the end token included where it was sampled."""
    finish: Finish
    mean_nll: float | None
    """Nats a token, mean over the completion, untruncated distribution at temperature 1; None when empty."""
    mean_entropy_bits: float | None
    """Mean over the tokens of the entropy of the 15 likeliest, renormalised; None when empty."""


class Sampler(Protocol):
    """What a round needs of an engine."""

    def encode(self, messages: Sequence[ChatMessage], answer_prefix: str = "") -> EncodedPrompt:
        """Render the model's own chat template, add the prefix, tokenise."""
        ...

    def sample(self, requests: Iterable[SampleRequest]) -> Iterator[Completion]:
        """Answer every request once, in order of completion."""
        ...

    def score(
        self, prompt_token_ids: Sequence[int], completion_token_ids: Sequence[int], adapter: Path | None = None
    ) -> list[float]:
        """Log-probability (nats) of each completion token at temperature 1."""
        ...

    def close(self) -> None: ...
