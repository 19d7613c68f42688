"""Prompts with their completions as one sequence, each prompt once: what both trainers compute log-probabilities on.

A completion sees its prompt and itself, never another completion or another prompt; its positions go on from its prompt's.
So chosen and rejected share the prompt's keys and values, and nothing is padded. Plain numpy, no model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from conself_local.training.job import TokenPair

MICRO_BATCH_TOKENS = 512
"""Pairs are packed up to so many tokens: enough for full matrix products, little enough for a laptop's memory."""
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Group:
    """A prompt and what was answered to it; neither is empty."""

    prompt: Sequence[int]
    completions: Sequence[Sequence[int]]

    @property
    def size(self) -> int:
        """Tokens in the packed sequence: the last one of each completion is only predicted."""
        return len(self.prompt) + sum(len(c) - 1 for c in self.completions)


@dataclass(frozen=True)
class Packed:
    """T tokens in the sequence, N completion tokens to predict, C completions in the order of the groups."""

    token_ids: Integers
    """(T,)"""
    positions: Integers
    """(T,)"""
    group: Integers
    """(T,) index of the group"""
    branch: Integers
    """(T,) 0 for the prompt, 1 and up for its completions"""
    rows: Integers
    """(N,) the place in the sequence that predicts each completion token"""
    targets: Integers
    """(N,) the completion tokens"""
    owner: Integers
    """(N,) index of the completion, 0 .. C - 1"""
    lengths: Integers
    """(C,) tokens of each completion"""

    def attention_mask(self) -> npt.NDArray[np.bool_]:
        """(T, T): whether the token of the row sees that of the column."""
        sees = (self.branch[None, :] == 0) | (self.branch[:, None] == self.branch[None, :])
        return np.tril(sees & (self.group[:, None] == self.group[None, :]))


def pack(groups: Sequence[Group]) -> Packed:
    tokens: list[int] = []
    positions: list[int] = []
    group: list[int] = []
    branch: list[int] = []
    rows: list[int] = []
    targets: list[int] = []
    owner: list[int] = []
    lengths: list[int] = []

    def add(ids: Sequence[int], first_position: int, of_group: int, of_branch: int) -> None:
        tokens.extend(ids)
        positions.extend(range(first_position, first_position + len(ids)))
        group.extend([of_group] * len(ids))
        branch.extend([of_branch] * len(ids))

    for index, one in enumerate(groups):
        add(one.prompt, 0, index, 0)
        last_of_prompt = len(tokens) - 1
        for number, completion in enumerate(one.completions, start=1):
            rows.append(last_of_prompt)
            rows.extend(range(len(tokens), len(tokens) + len(completion) - 1))
            targets.extend(completion)
            owner.extend([len(lengths)] * len(completion))
            lengths.append(len(completion))
            add(completion[:-1], len(one.prompt), index, number)
    return Packed(
        *(
            np.array(values, dtype=np.int64)
            for values in (tokens, positions, group, branch, rows, targets, owner, lengths)
        )
    )


def group_of(pair: TokenPair) -> Group:
    return Group(pair.prompt, (pair.chosen, pair.rejected))


def micro_batches(pairs: Sequence[TokenPair], indices: Sequence[int], most_tokens: int) -> list[list[int]]:
    """Parts of `indices`, shortest pairs first, of at most `most_tokens` packed tokens each; a longer pair stands alone."""
    parts: list[list[int]] = []
    filled = most_tokens
    for index in sorted(indices, key=lambda i: (group_of(pairs[i]).size, i)):
        size = group_of(pairs[index]).size
        if filled + size > most_tokens:
            parts.append([])
            filled = 0
        parts[-1].append(index)
        filled += size
    return parts
