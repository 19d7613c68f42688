"""Measure how far the log-probabilities of an engine are from those of llama.cpp on the original file.

The original answers a few prompts greedily; another engine, or the same one on converted weights, then scores the same
answers. Not covered: the gap on the samples of a round (`round/run.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean

from conself_local.errors import ConselfError
from conself_local.sampling.engine_process import EngineProcess
from conself_local.sampling.sampler import EncodedPrompt, SampleRequest

PROMPTS = 3
_TOKENS = 32


@dataclass
class ReferenceAnswers:
    """Answers of the original file and their log-probabilities."""

    answers: list[tuple[EncodedPrompt, tuple[int, ...], list[float]]] = field(default_factory=list)
    """(prompt, token ids, log-probability of each token in nats)."""

    def take(self, original: EngineProcess, prompts: Sequence[EncodedPrompt]) -> None:
        """Let the original answer the first `PROMPTS` prompts, which must have no answers yet."""
        prompts = prompts[:PROMPTS]
        requests = [SampleRequest(str(i), p.token_ids, 0.0, 1.0, _TOKENS, i) for i, p in enumerate(prompts)]
        for completion in list(original.sample(requests)):
            prompt, tokens = prompts[int(completion.key)], completion.token_ids
            if tokens:
                self.answers.append((prompt, tokens, original.score(prompt.token_ids, tokens)))

    def gap(self, engine: EngineProcess) -> float:
        """Return the mean absolute difference of log-probability, in nats per token.

        Raises ConselfError if the original has answered nothing, so that nothing can be compared.
        """
        if not self.answers:
            raise ConselfError("the model answers no prompt, so its weights cannot be compared", "use another model")
        return fmean(
            abs(a - b)
            for prompt, tokens, logps in self.answers
            for a, b in zip(engine.score(prompt.token_ids, tokens), logps, strict=True)
        )
