"""Read and write text with llama.cpp's tokenizer of a GGUF file, whether its weights are loaded or not.

Every engine that samples from a GGUF file takes its tokens from here, so that all of them see the same prompt.
Not covered: chat templates (`model_files/chat_template.py`).
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import llama_cpp as ll

from conself_local.errors import ConselfError
from conself_local.sampling.llama_log import keep_warnings_only


class Vocabulary:
    """The vocabulary of a model that llama.cpp has loaded; `model` must outlive it."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._vocab = ll.llama_model_get_vocab(model)
        self.size = int(ll.llama_vocab_n_tokens(self._vocab))
        """Number of tokens."""

    def tokenize(self, text: str, special: bool = True) -> list[int]:
        """Return the token ids of a text.

        With `special`, the text of special tokens becomes those tokens, and a beginning-of-sequence token is added if
        the vocabulary asks for one and the text does not begin with it. Raises ConselfError if the tokenizer fails.
        """
        raw = text.encode()
        room = len(raw) + 8
        buffer = (ll.llama_token * room)()
        adds_bos = special and bool(ll.llama_vocab_get_add_bos(self._vocab))
        count = ll.llama_tokenize(self._vocab, raw, len(raw), buffer, room, adds_bos, special)
        if count < 0:
            raise ConselfError("the model's tokenizer failed on a prompt", "use another model file")
        ids = list(buffer[:count])
        bos = ll.llama_vocab_bos(self._vocab)
        return ids[1:] if adds_bos and ids[:2] == [bos, bos] else ids

    def piece(self, token: int) -> bytes:
        """Return the bytes of a token; empty for a special one."""
        buffer = ctypes.create_string_buffer(64)
        size = ll.llama_token_to_piece(self._vocab, token, buffer, 64, 0, False)
        if size < 0:
            buffer = ctypes.create_string_buffer(-size)
            size = ll.llama_token_to_piece(self._vocab, token, buffer, -size, 0, False)
        return buffer.raw[:size]

    def detokenize(self, token_ids: Sequence[int]) -> str:
        """Return the text of sampled tokens; special ones have none, and bytes that are not UTF-8 are replaced."""
        return b"".join(map(self.piece, token_ids)).decode(errors="replace")

    def ends(self, token: int) -> bool:
        """Return whether a token ends an answer."""
        return bool(ll.llama_vocab_is_eog(self._vocab, token))


def load_vocabulary(path: Path, end_token: int | None) -> Vocabulary:
    """Load the vocabulary of a GGUF file without its weights.

    `end_token` ends answers if the file names no end token. Raises ConselfError if llama.cpp cannot load it.
    """
    keep_warnings_only()
    params = ll.llama_model_default_params()
    params.vocab_only = True
    overrides = end_token_override(end_token)
    params.kv_overrides = overrides
    model = ll.llama_model_load_from_file(str(path).encode(), params)
    if not model:
        raise ConselfError(f"llama.cpp cannot read the vocabulary of {path}", "download the file again")
    return Vocabulary(model)


def end_token_override(token: int | None) -> ctypes.Array[Any] | None:
    """Return metadata that replace those of the file, ended by an empty entry; None if the file's own are right.

    Without an end token in the file, llama.cpp takes the token that it is in GPT-2 or Llama 2.
    """
    if token is None:
        return None
    overrides = (ll.llama_model_kv_override * 2)()
    overrides[0].tag = ll.LLAMA_KV_OVERRIDE_TYPE_INT
    overrides[0].key = b"tokenizer.ggml.eos_token_id"
    overrides[0].value.val_i64 = token
    return overrides
