"""Pack prompts with their completions into one sequence, each prompt once, and split pairs into micro-batches.

A completion attends to its prompt and to itself, never to another completion or prompt; its positions continue those
of its prompt. So chosen and rejected share the prompt's keys and values, and nothing is padded. Both backends train on
these micro-batches; only the torch backend uses the packed sequence. Plain numpy; no model is loaded here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from conself_local.training.job import TokenPair

MICRO_BATCH_TOKENS = 512
"""Maximum tokens of a micro-batch: enough for large matrix products, few enough for a laptop's memory."""
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Group:
    """A prompt and its completions; none of them is empty."""

    prompt: Sequence[int]
    completions: Sequence[Sequence[int]]

    @property
    def size(self) -> int:
        """Number of tokens in the packed sequence; the last token of each completion is predicted, but not an input."""
        return len(self.prompt) + sum(len(c) - 1 for c in self.completions)


@dataclass(frozen=True)
class Packed:
    """One packed sequence: T input tokens, N completion tokens to predict, C completions in the order of the groups."""

    token_ids: Integers
    """(T,) input tokens."""
    positions: Integers
    """(T,) positions; those of a completion continue those of its prompt."""
    group: Integers
    """(T,) index of the group."""
    branch: Integers
    """(T,) 0 for the prompt, 1 and higher for its completions."""
    rows: Integers
    """(N,) index of the input token whose logits predict each completion token."""
    targets: Integers
    """(N,) completion tokens."""
    owner: Integers
    """(N,) index of the completion, from 0 to C - 1."""
    lengths: Integers
    """(C,) number of tokens of each completion."""

    def attention_mask(self) -> npt.NDArray[np.bool_]:
        """Return (T, T): whether the token of the row attends to that of the column."""
        visible = (self.branch[None, :] == 0) | (self.branch[:, None] == self.branch[None, :])
        return np.tril(visible & (self.group[:, None] == self.group[None, :]))

    def completions_alone(self) -> Iterator[Packed]:
        """Yield each completion in a sequence of its own, after its prompt; the targets keep their order."""
        for index in range(len(self.lengths)):
            wanted = self.owner == index
            last = self.rows[wanted][-1]
            group, branch = self.group[last], self.branch[last]
            if not branch:  # a completion of one token has no input of its own
                branch = -1
            own = (self.group == group) & ((self.branch == 0) | (self.branch == branch))
            place = np.cumsum(own) - 1
            yield Packed(
                self.token_ids[own],
                self.positions[own],
                np.zeros(int(own.sum()), dtype=np.int64),
                self.branch[own],
                place[self.rows[wanted]],
                self.targets[wanted],
                np.zeros(int(wanted.sum()), dtype=np.int64),
                self.lengths[index : index + 1],
            )


def pack(groups: Sequence[Group]) -> Packed:
    """Return the groups as one sequence: each prompt, followed by its completions without their last tokens."""
    tokens: list[int] = []
    positions: list[int] = []
    group: list[int] = []
    branch: list[int] = []
    rows: list[int] = []
    targets: list[int] = []
    owner: list[int] = []
    lengths: list[int] = []

    def add(ids: Sequence[int], first_position: int, group_index: int, branch_index: int) -> None:
        tokens.extend(ids)
        positions.extend(range(first_position, first_position + len(ids)))
        group.extend([group_index] * len(ids))
        branch.extend([branch_index] * len(ids))

    for index, source in enumerate(groups):
        add(source.prompt, 0, index, 0)
        last_prompt_row = len(tokens) - 1
        for completion_branch, completion in enumerate(source.completions, start=1):
            rows.append(last_prompt_row)
            rows.extend(range(len(tokens), len(tokens) + len(completion) - 1))
            targets.extend(completion)
            owner.extend([len(lengths)] * len(completion))
            lengths.append(len(completion))
            add(completion[:-1], len(source.prompt), index, completion_branch)
    return Packed(
        *(
            np.array(values, dtype=np.int64)
            for values in (tokens, positions, group, branch, rows, targets, owner, lengths)
        )
    )


def group_of(pair: TokenPair) -> Group:
    """Return the pair's prompt with its two completions, first chosen, then rejected."""
    return Group(pair.prompt, (pair.chosen, pair.rejected))


def micro_batches(pairs: Sequence[TokenPair], indices: Sequence[int], max_tokens: int) -> list[list[int]]:
    """Split `indices` into micro-batches of at most `max_tokens` packed tokens each, shortest pairs first.

    A pair with more tokens is a micro-batch alone.
    """
    parts: list[list[int]] = []
    filled = max_tokens
    for index in sorted(indices, key=lambda i: (group_of(pairs[i]).size, i)):
        size = group_of(pairs[index]).size
        if filled + size > max_tokens:
            parts.append([])
            filled = 0
        parts[-1].append(index)
        filled += size
    return parts
