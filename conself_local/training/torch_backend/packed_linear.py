"""Provide a frozen linear map over the blocks of the GGUF file that is unpacked for each use, or once for all.

A packed map takes the memory of the file (QLoRA on the user's own quantisation) and the time to unpack it in the
forward and in the backward pass; both ways compute with the same values. Nothing is quantised here.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from conself_local.model_files.ggml import unpack
from conself_local.model_files.gguf_weights import GgufTensor


class PackedLinear(torch.nn.Linear):
    """A replacement of a frozen `torch.nn.Linear`.

    `weight` is empty while the map is packed; its dtype and device are those of the computation.
    """

    def __init__(self, tensor: GgufTensor, bias: torch.Tensor | None, dtype: torch.dtype) -> None:
        torch.nn.Module.__init__(self)
        self.out_features, self.in_features = tensor.shape
        self.weight = torch.nn.Parameter(torch.empty(0, dtype=dtype), requires_grad=False)
        self.register_parameter("bias", None if bias is None else torch.nn.Parameter(bias, requires_grad=False))
        self._quant_type = tensor.quant_type
        self._blocks = tensor.rows_in_order().reshape(-1)
        columns = tensor.order.columns
        self._columns = None if columns is None else torch.from_numpy(columns)
        self.on_progress: Callable[[], None] = lambda: None
        """Called after each use of the weight, forward and backward."""

    def keep_dense(self, dense: bool) -> None:
        """Unpack the weight permanently, or release that memory."""
        self.weight.data = self.dense_weight() if dense else self.weight.new_empty(0)

    @property
    def file(self) -> mmap.mmap | None:
        """The memory-mapped file that the blocks are a view of; None if they were copied into another order."""
        view: Any = self._blocks
        while isinstance(view, np.ndarray):
            view = view.base
        return view if isinstance(view, mmap.mmap) else None

    def dense_weight(self) -> torch.Tensor:
        """Return the weight (out, in), unpacked now if it is packed."""
        if self.weight.numel():
            return self.weight.data
        values = unpack(self._quant_type, self._blocks, self.out_features, self.in_features)
        weight = torch.from_numpy(values if self._columns is None else values[:, self._columns])
        return weight.to(self.weight.device, self.weight.dtype)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (..., out) for `x` (..., in), which is cast to the weight's dtype."""
        y: torch.Tensor = _UnpackedForEachUse.apply(x.to(self.weight.dtype), self)  # type: ignore[no-untyped-call]
        return y if self.bias is None else y + self.bias


def keep_dense(model: torch.nn.Module, dense: bool) -> None:
    """Unpack all packed maps of a model permanently, or release that memory.

    The pages of the file that the blocks were read from are released to the system.
    """
    packed = _packed_maps(model)
    for module in packed:
        module.keep_dense(dense)
        module.on_progress()
    for file in {module.file for module in packed}:
        if file is not None and hasattr(file, "madvise"):
            file.madvise(mmap.MADV_DONTNEED)


def report_progress(model: torch.nn.Module, on_progress: Callable[[], None]) -> None:
    """Call `on_progress` after each use of a packed map: it takes seconds even if a micro-batch takes many minutes."""
    for module in _packed_maps(model):
        module.on_progress = on_progress


def dense_bytes(model: torch.nn.Module) -> int:
    """Return the bytes that the weights of all packed maps take after `keep_dense(model, True)`."""
    return sum(m.out_features * m.in_features * m.weight.element_size() for m in _packed_maps(model))


def _packed_maps(model: torch.nn.Module) -> list[PackedLinear]:
    return [module for module in model.modules() if isinstance(module, PackedLinear)]


class _UnpackedForEachUse(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, linear: PackedLinear) -> torch.Tensor:
        ctx.linear = linear
        y = torch.nn.functional.linear(x, linear.dense_weight())
        linear.on_progress()
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        x_gradient = gradients[0] @ ctx.linear.dense_weight()
        ctx.linear.on_progress()
        return x_gradient, None
