"""Keep the rows of a matrix in the blocks of the GGUF file, as a buffer that moves with the module to a device.

On the processor ggml unpacks them, which is many times faster there than torch operations. On a graphics card torch
operations unpack a limited number of rows at a time. Nothing is quantised here, except that values of a type that torch
cannot unpack (`blocks.can_unpack`) are kept in the precision of the computation.
"""

from __future__ import annotations

import mmap
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from conself_local.model_files.ggml import unpack
from conself_local.model_files.gguf_weights import GgufTensor
from conself_local.training.torch_backend.blocks import FLOATS, can_unpack, unpack_blocks

CHUNK_VALUES = 2**23
"""Number of values that are unpacked at once on a card: 32 MiB as float32, and a few times that while it computes."""


class PackedRows(torch.nn.Module):
    """A frozen matrix in blocks.

    `as_card`: unpack as on a graphics card, wherever the blocks are, so that the processor can prove what a card does.
    """

    blocks: torch.Tensor
    column_order: torch.Tensor | None

    def __init__(self, tensor: GgufTensor, dtype: torch.dtype, as_card: bool = False) -> None:
        super().__init__()
        self.rows, self.columns = tensor.shape
        self._as_card = as_card
        self._quant_type = tensor.quant_type
        blocks, columns = tensor.rows_in_order(), tensor.order.columns
        if as_card and not can_unpack(tensor.quant_type):
            self._quant_type = next(number for number, same in FLOATS.items() if same == dtype)
            blocks = torch.from_numpy(tensor.dense()).to(dtype).contiguous().view(torch.uint8).numpy()
            columns = None
        self.file = _mapped_file(blocks)
        """The memory-mapped file that the blocks are a view of; None if they were copied into another order."""
        self.register_buffer("blocks", _read_only(blocks), persistent=False)
        order = None if columns is None else torch.from_numpy(columns)
        self.register_buffer("column_order", order, persistent=False)

    def unpack(self, rows: slice | torch.Tensor) -> torch.Tensor:
        """Return the float32 values (n, columns) of some rows, on the device of the blocks."""
        chosen = self.blocks[rows]
        if self._as_card or chosen.device.type != "cpu":
            values = unpack_blocks(self._quant_type, chosen)
        else:
            values = torch.from_numpy(unpack(self._quant_type, chosen.numpy().reshape(-1), len(chosen), self.columns))
        return values if self.column_order is None else values[:, self.column_order]

    def chunks(self, most_rows: int | None = None) -> Iterator[slice]:
        """Yield slices of all rows: at most CHUNK_VALUES values each on a card, all rows at once on the processor."""
        step = max(1, CHUNK_VALUES // self.columns)
        if not self._as_card and self.blocks.device.type == "cpu":
            step = self.rows
        step = min(step, most_rows or step)
        for start in range(0, self.rows, step):
            yield slice(start, min(start + step, self.rows))


def _mapped_file(view: Any) -> mmap.mmap | None:
    while isinstance(view, np.ndarray):
        view = view.base
    return view if isinstance(view, mmap.mmap) else None


def _read_only(blocks: Any) -> torch.Tensor:
    """Return the bytes as a tensor without a copy; torch warns that it cannot protect them, and nothing writes them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return torch.from_numpy(blocks)
