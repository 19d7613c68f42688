"""Report progress from inside llama.cpp: with each tensor that it loads, and with each operation of a slow decode.

The first decode may read the weights from a slow disk, and a long prompt can take a slow processor minutes; from
outside, both look like a hang. llama.cpp asks after each operation whether to stop; the answer is always no, but that
it asks is progress. Not covered: operations on a graphics card, about which it does not ask.
"""

from __future__ import annotations

import ctypes
import math
import time
from collections.abc import Callable

import llama_cpp as ll

_SLOW_SECONDS = 0.1
"""Decodes that follow a faster one are not watched from inside, so that quick decodes lose no time.

The largest batch takes 512 times as long as the smallest, so an unwatched decode takes about a minute at most.
"""


class LlamaProgress:
    """Calls `on_progress` while llama.cpp loads and decodes."""

    def __init__(self, on_progress: Callable[[], None]) -> None:
        self._on_progress = on_progress
        self._decode_seconds = math.inf
        self.while_loading = ll.llama_progress_callback(self._loads)
        """For `llama_model_params.progress_callback`; it must live as long as the model is loaded."""
        self._while_computing = ll.ggml_abort_callback(self._computes)
        self._unwatched = ll.ggml_abort_callback()

    def decode(self, context: ctypes.c_void_p | None, batch: ll.llama_batch) -> bool:
        """Decode a batch; return whether llama.cpp could."""
        watch = self._decode_seconds >= _SLOW_SECONDS
        ll.llama_set_abort_callback(context, self._while_computing if watch else self._unwatched, None)
        started = time.monotonic()
        status = ll.llama_decode(context, batch)
        self._decode_seconds = time.monotonic() - started
        self._on_progress()
        return bool(status == 0)

    def _loads(self, share: float, user_data: object) -> bool:
        self._on_progress()
        return True  # go on

    def _computes(self, user_data: object) -> bool:
        self._on_progress()
        return False  # do not stop
