"""Print only the warnings and errors of llama.cpp, with escapes for what a model file could put into them."""

from __future__ import annotations

import ctypes
import sys

import llama_cpp as ll

from conself_local.foreign_text import shown

_WARNING = 3
"""GGML_LOG_LEVEL_WARN."""


@ll.llama_log_callback  # type: ignore[untyped-decorator]
def _keep_warnings(level: int, text: bytes, user_data: object) -> None:
    if level >= _WARNING:
        sys.stderr.write(shown(text.decode(errors="replace")))


def keep_warnings_only() -> None:
    """Print only warnings and errors from now on, on standard error."""
    ll.llama_log_set(_keep_warnings, ctypes.c_void_p(0))
