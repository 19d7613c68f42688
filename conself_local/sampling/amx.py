"""Keep llama.cpp's AMX kernels off, because an older compiler miscompiles them.

A llama.cpp that was built for AMX keeps quantised weights in extra buffers and multiplies them in tiles. A GCC before
13.3 leaves most of the tile configuration unwritten (its `_tile_loadconfig` declares only 8 of the 64 bytes as read),
and the first batch ends the process with SIGSEGV. A build does not say which compiler made it, so every build for AMX
runs without these buffers: the AVX-512 kernels compute the same. Builds without AMX are not changed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import llama_cpp.llama_cpp as ll

_default_params = ll.llama_model_default_params


def model_params() -> ll.llama_model_params:
    """Return llama.cpp's default model parameters, without the extra buffers if it was built for AMX."""
    params = _default_params()
    params.use_extra_bufts = "AMX_INT8 = 1" not in ll.llama_print_system_info().decode()
    return params


@contextmanager
def amx_is_off() -> Iterator[None]:
    """Keep AMX off for every `llama_cpp.Llama` made in the block: its constructor has no argument for it."""
    ll.llama_model_default_params = model_params
    try:
        yield
    finally:
        ll.llama_model_default_params = _default_params
