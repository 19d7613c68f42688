"""Provide frozen linear maps and embeddings over the blocks of the GGUF file, unpacked for each use or once for all.

A packed map takes the memory of the file (QLoRA on the user's own quantisation) and the time to unpack it in the
forward and in the backward pass; both ways compute with the same values. The output head is here only as a matrix: its
log-probabilities are computed in `frozen_head.py`.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterator
from typing import Any

import torch

from conself_local.training.torch_backend.packed_rows import PackedRows


class PackedLinear(torch.nn.Linear):
    """A replacement of a frozen `torch.nn.Linear`.

    `weight` is empty while the map is packed; its dtype and device are those of the computation.
    """

    def __init__(self, rows: PackedRows, bias: torch.Tensor | None, dtype: torch.dtype) -> None:
        torch.nn.Module.__init__(self)
        self.out_features, self.in_features = rows.rows, rows.columns
        self.weight = torch.nn.Parameter(torch.empty(0, dtype=dtype), requires_grad=False)
        self.register_parameter("bias", None if bias is None else torch.nn.Parameter(bias, requires_grad=False))
        self.packed = rows
        self.on_progress: Callable[[], None] = lambda: None
        """Called after each use of the weight, forward and backward."""

    def keep_dense(self, dense: bool) -> None:
        """Unpack the weight permanently, or release that memory."""
        self.weight.data = self.dense_weight() if dense else self.weight.new_empty(0)

    def dense_weight(self) -> torch.Tensor:
        """Return the weight (out, in), unpacked now if it is packed."""
        parts = [part for _, part in self.weight_chunks()]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def weight_chunks(self, most_rows: int | None = None) -> Iterator[tuple[slice, torch.Tensor]]:
        """Yield the rows of the weight in parts, each with its place; in one part if it is dense."""
        if self.weight.numel():
            yield slice(0, self.out_features), self.weight.data
            return
        for rows in self.packed.chunks(most_rows):
            yield rows, self.packed.unpack(rows).to(self.weight.device, self.weight.dtype)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (..., out) for `x` (..., in), which is cast to the weight's dtype."""
        y: torch.Tensor = _UnpackedForEachUse.apply(x.to(self.weight.dtype), self)  # type: ignore[no-untyped-call]
        return y if self.bias is None else y + self.bias


class PackedHead(PackedLinear):
    """The output head: a map that no adapter changes."""


class PackedEmbedding(torch.nn.Module):
    """A replacement of a frozen `torch.nn.Embedding`; `scale` is a factor of its values, as Gemma has one."""

    def __init__(self, rows: PackedRows, dtype: torch.dtype, scale: float | None = None) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.empty(0, dtype=dtype), requires_grad=False)
        self.packed = rows
        self._scale = None if scale is None else float(torch.tensor(scale).to(dtype))

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Return (..., size) for token ids (...)."""
        values = self.packed.unpack(ids.reshape(-1)).to(self.weight.dtype).reshape(*ids.shape, -1)
        return values if self._scale is None else values * self._scale


def keep_dense(model: torch.nn.Module, dense: bool) -> None:
    """Unpack all packed maps of a model permanently, or release that memory; embeddings remain as they are.

    The pages of the file that the blocks were read from are released to the system.
    """
    packed = _packed_maps(model)
    for module in packed:
        module.keep_dense(dense)
        module.on_progress()
    for file in {module.packed.file for module in packed}:
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
        parts = [torch.nn.functional.linear(x, weight) for _, weight in linear.weight_chunks()]
        linear.on_progress()
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        (y_gradient,) = gradients
        x_gradient: torch.Tensor | None = None
        for rows, weight in ctx.linear.weight_chunks():
            part = y_gradient[..., rows] @ weight
            if len(weight) == ctx.linear.out_features:
                x_gradient = part
            else:  # parts are added in float32, so that their number does not change the precision
                x_gradient = part.float() if x_gradient is None else x_gradient.add_(part)
        ctx.linear.on_progress()
        assert x_gradient is not None, "a map has at least one row"
        return x_gradient.to(y_gradient.dtype), None
