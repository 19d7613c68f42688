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


def built_for_amx() -> bool:
    return "AMX_INT8 = 1" in str(ll.llama_print_system_info().decode())


@contextmanager
def amx_is_off() -> Iterator[None]:
    """For a `llama_cpp.Llama` that is made within: its constructor has no argument for the buffers."""
    made_by_llama_cpp = ll.llama_model_default_params

    def without_extra_buffers() -> ll.llama_model_params:
        params = made_by_llama_cpp()
        params.use_extra_bufts = not built_for_amx()
        return params

    ll.llama_model_default_params = without_extra_buffers
    try:
        yield
    finally:
        ll.llama_model_default_params = made_by_llama_cpp
