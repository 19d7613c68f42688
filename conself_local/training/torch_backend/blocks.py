"""Unpack the blocks of ggml's quantisation types with torch operations, on any device, to the float32 values of ggml.

Most types are unpacked by `transformers.integrations.gguf.dequant`, an internal module: its version is pinned, and a
test holds every type to ggml bit by bit. It is always asked for float32, because in bfloat16 it also computes in
bfloat16. Q5_0, Q5_1 and the plain floats are unpacked here. Not covered: the ternary and MXFP4 types.
Source of Q5_0 and Q5_1: ggml, `dequantize_row_q5_0` and `dequantize_row_q5_1`; read and restated.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import torch

from conself_local.errors import ConselfError

FLOATS: Mapping[int, torch.dtype] = {0: torch.float32, 1: torch.float16, 30: torch.bfloat16}
"""ggml type -> the torch type that has the same bytes."""
_Q5_0, _Q5_1 = 6, 7
_Q5_BLOCK_BYTES = {_Q5_0: 22, _Q5_1: 24}


def can_unpack(quant_type: int) -> bool:
    """Return whether `unpack_blocks` knows the ggml type."""
    return quant_type in FLOATS or quant_type in _Q5_BLOCK_BYTES or quant_type in _library()[1]


def unpack_blocks(quant_type: int, blocks: torch.Tensor) -> torch.Tensor:
    """Return the float32 values (rows, columns) of `blocks`, (rows, bytes per row) of type uint8, on their device."""
    blocks = blocks.contiguous()
    if quant_type in FLOATS:
        return blocks.view(FLOATS[quant_type]).float()
    if quant_type in _Q5_BLOCK_BYTES:
        values = _unpack_q5(quant_type, blocks.reshape(-1, _Q5_BLOCK_BYTES[quant_type]))
    else:
        values = _library()[0](blocks.reshape(-1), quant_type, torch.float32)
    return values.reshape(len(blocks), -1)


def _unpack_q5(quant_type: int, blocks: torch.Tensor) -> torch.Tensor:
    """Return the values (blocks, 32): a scale, for Q5_1 also a minimum, 32 fifth bits, and 32 times four bits."""
    scale = blocks[:, :2].view(torch.float16).float()
    start = 4 if quant_type == _Q5_1 else 2
    shifts = torch.arange(8, dtype=torch.uint8, device=blocks.device)
    high = ((blocks[:, start : start + 4, None] >> shifts) & 1).reshape(-1, 32)
    low = blocks[:, start + 4 : start + 20]
    codes = (torch.cat([low & 15, low >> 4], dim=1) | (high << 4)).float()
    if quant_type == _Q5_0:
        return scale * (codes - 16)
    return scale * codes + blocks[:, 2:4].view(torch.float16).float()


@cache
def _library() -> tuple[Callable[..., torch.Tensor], Mapping[int, Any]]:
    """Return the function of transformers and the types that it knows. Raises ConselfError if it lacks them."""
    try:
        from transformers.integrations.gguf import dequant
    except ImportError as error:
        raise ConselfError(
            "the installed transformers cannot unpack GGUF blocks on a graphics card",
            'install the version that this program was tested with: pip install "transformers>=5.24,<5.25"',
        ) from error
    return dequant.dequantize, dequant.GGML_BLOCK
