"""Make pairs for the training benchmarks: random words of the starter pack's statements, lengths drawn from a seed."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conself_local.problems.load import load_starter
from conself_local.training.job import TokenPair, TrainingJob

PROMPT_WORDS = 100
ANSWER_WORDS = (50, 150)
LEARNING_RATE, BETA, RANK, ALPHA, BATCH_PAIRS, SEED = 5e-5, 0.1, 16, 32, 8, 0


@dataclass(frozen=True)
class TextPair:
    """One preference pair as text."""

    prompt: str
    chosen: str
    rejected: str


def make_pairs(
    count: int, prompt_words: int = PROMPT_WORDS, answer_words: tuple[int, int] = ANSWER_WORDS
) -> list[TextPair]:
    """Return `count` pairs, always the same; answer_words: the fewest and the most words of an answer."""
    words = " ".join(p.statement for p in load_starter()).split()
    draw = random.Random(SEED)

    def text(length: int) -> str:
        return " ".join(draw.choice(words) for _ in range(length))

    return [
        TextPair(text(prompt_words), " " + text(draw.randint(*answer_words)), " " + text(draw.randint(*answer_words)))
        for _ in range(count)
    ]


def token_pair(pair: TextPair, tokenizer: Any) -> TokenPair:
    """Tokenise a pair as TRL does: prompt and answers apart, the end token after each answer. The weight is 1."""
    ids = [
        tuple(tokenizer(text, add_special_tokens=False)["input_ids"])
        for text in (pair.prompt, pair.chosen, pair.rejected)
    ]
    end = (tokenizer.eos_token_id,)
    return TokenPair(ids[0], ids[1] + end, ids[2] + end, 1.0)


def make_job(model: Path, architecture: str, pairs: tuple[TokenPair, ...], threads: int) -> TrainingJob:
    """Return a training job of one epoch over the pairs, with the settings that all contenders share."""
    return TrainingJob(
        str(model),
        architecture,
        None,
        pairs,
        SEED,
        BETA,
        RANK,
        ALPHA,
        LEARNING_RATE,
        1,
        BATCH_PAIRS,
        0.1,
        1.0,
        0.0,
        None,
        threads,
    )
