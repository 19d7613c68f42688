"""One answer as it grows: its tokens, its text, how unsure the model was, and when it is enough."""

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
    request: SampleRequest
    token_ids: list[int] = field(default_factory=list)
    text: bytearray = field(default_factory=bytearray)
    nll_sum: float = 0.0
    entropy_sum: float = 0.0
    streamed_bytes: int = 0
    """Bytes of the text that `new_text` has handed out."""
    _decoder: codecs.IncrementalDecoder = field(
        default_factory=lambda: codecs.getincrementaldecoder("utf-8")("replace")
    )

    @property
    def length(self) -> int:
        """Tokens of prompt and answer."""
        return len(self.request.prompt_token_ids) + len(self.token_ids)

    def add(self, token: int, nll: float, entropy_bits: float) -> None:
        self.token_ids.append(token)
        self.nll_sum += nll
        self.entropy_sum += entropy_bits

    def finish_with(self, piece: bytes, longest: int) -> Finish | None:
        """Add the last token's text; why the answer ends here, if it does. longest: tokens that prompt and answer may have."""
        self.text += piece
        request = self.request
        may_close = request.stop_at_fence and b"`" in piece
        if may_close and block_is_closed(request.answer_prefix + self.text.decode(errors="replace")):
            return "fence"
        if request.stop_at_repetition and len(self.token_ids) % _REPEAT_EVERY == 0 and is_repeating(self.token_ids):
            return "repetition"
        enough = self.length >= longest or len(self.token_ids) >= request.max_new_tokens
        return "length" if enough else None

    def new_text(self) -> str:
        """What has come since the last call; a letter whose bytes are not all there waits."""
        new, self.streamed_bytes = bytes(self.text[self.streamed_bytes :]), len(self.text)
        return self._decoder.decode(new)

    def completion(self, finish: Finish) -> Completion:
        n = len(self.token_ids)
        text = self.text.decode(errors="replace")
        return Completion(self.request.key, text, tuple(self.token_ids), finish, self.nll_sum / n, self.entropy_sum / n)


def is_repeating(tokens: Sequence[int]) -> bool:
    """Whether the end of the completion is one short piece, at least 8 tokens in all, said `_REPEAT_TIMES` times over."""
    for period in range(1, _REPEAT_PERIOD + 1):
        times = max(_REPEAT_TIMES, -(-16 // period))
        if len(tokens) >= period * times:
            end = list(tokens[-period * times :])
            if end == end[:period] * times:
                return True
    return False
