"""llama.cpp's AMX kernels, which an older compiler spoils, stay off.

Where it was built for AMX it keeps quantized weights in buffers of their own and multiplies them by tiles. A GCC before
13.3 leaves most of the tiles' configuration unwritten (its `_tile_loadconfig` declares eight of the 64 bytes as read), and
the first batch ends the process with SIGSEGV. Which compiler it was cannot be asked, so the buffers stay off on such a
processor: the AVX-512 kernels compute the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import llama_cpp.llama_cpp as ll

_default_params = ll.llama_model_default_params


def model_params() -> ll.llama_model_params:
    """llama.cpp's defaults, without the buffers where it was built for AMX."""
    params = _default_params()
    params.use_extra_bufts = "AMX_INT8 = 1" not in ll.llama_print_system_info().decode()
    return params


@contextmanager
def amx_is_off() -> Iterator[None]:
    """For a `llama_cpp.Llama` that is made within: its constructor has no argument for the buffers."""
    ll.llama_model_default_params = model_params
    try:
        yield
    finally:
        ll.llama_model_default_params = _default_params
