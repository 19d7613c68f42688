"""Track one completion while it is generated: tokens, text, the model's uncertainty, and when to stop.

Choosing the tokens is the work of `token_choice.py`, decoding them that of the engines.
"""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from dataclasses import dataclass, field

from conself_local.sampling.extract import block_is_closed
from conself_local.sampling.sampler import Completion, Finish, SampleRequest

_REPEAT_PERIOD = 24
_REPEAT_TIMES = 4
_REPEAT_EVERY = 16


@dataclass
class Generation:
    """A request and what the engine has generated for it until now."""

    request: SampleRequest
    token_ids: list[int] = field(default_factory=list)
    text: bytearray = field(default_factory=bytearray)
    nll_sum: float = 0.0
    """Negative log-likelihood in nats, summed over the tokens."""
    entropy_sum: float | None = 0.0
    """Entropy in bits, summed over the tokens; None if the engine does not report it."""
    streamed_bytes: int = 0
    """Number of bytes of `text` that `new_text` has read."""
    _decoder: codecs.IncrementalDecoder = field(
        default_factory=lambda: codecs.getincrementaldecoder("utf-8")("replace")
    )

    @property
    def length(self) -> int:
        """Number of tokens of prompt and completion together."""
        return len(self.request.prompt_token_ids) + len(self.token_ids)

    def add(self, token: int, nll: float, entropy_bits: float | None) -> None:
        """Append a token with its negative log-likelihood `nll` in nats and the entropy at its position in bits.

        An engine that does not report the entropy gives None for every token.
        """
        self.token_ids.append(token)
        self.nll_sum += nll
        if self.entropy_sum is not None:
            self.entropy_sum = None if entropy_bits is None else self.entropy_sum + entropy_bits

    def finish_with(self, piece: bytes, longest: int) -> Finish | None:
        """Append the text of the last token and return why the completion ends here, or None if it continues.

        `longest` is the maximum number of tokens of prompt and completion together. Repetition is looked for after
        every 16th token.
        """
        self.text += piece
        request = self.request
        may_close_fence = request.stop_at_fence and b"`" in piece
        if may_close_fence and block_is_closed(request.answer_prefix + self.text.decode(errors="replace")):
            return "fence"
        if request.stop_at_repetition and len(self.token_ids) % _REPEAT_EVERY == 0 and is_repeating(self.token_ids):
            return "repetition"
        is_full = self.length >= longest or len(self.token_ids) >= request.max_new_tokens
        return "length" if is_full else None

    def new_text(self) -> str:
        """Return the text that is new since the last call; an incomplete UTF-8 character waits for its other bytes."""
        new, self.streamed_bytes = bytes(self.text[self.streamed_bytes :]), len(self.text)
        return self._decoder.decode(new)

    def completion(self, finish: Finish) -> Completion:
        """Return the finished completion with its mean uncertainty per token; at least one token is needed."""
        n = len(self.token_ids)
        text = self.text.decode(errors="replace")
        entropy = None if self.entropy_sum is None else self.entropy_sum / n
        return Completion(self.request.key, text, tuple(self.token_ids), finish, self.nll_sum / n, entropy)


def is_repeating(tokens: Sequence[int]) -> bool:
    """Return whether the tokens end with a loop: one piece of at most 24 tokens, repeated without a break.

    The piece must occur at least 4 times and the loop must have at least 16 tokens: 16 equal tokens are a loop, 15
    are none.
    """
    for period in range(1, _REPEAT_PERIOD + 1):
        times = max(_REPEAT_TIMES, -(-16 // period))
        if len(tokens) >= period * times:
            end = list(tokens[-period * times :])
            if end == end[:period] * times:
                return True
    return False
