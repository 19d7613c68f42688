"""Compute log-probabilities by a frozen output head, with the gradient taken in the forward pass: no logits are kept.

A dense head multiplies some rows of hidden values at a time with the whole vocabulary. A head in blocks is unpacked
once, in chunks of the vocabulary, with an online softmax (as in arXiv 1805.02867), so that neither the logits nor the
dense head ever exist as a whole. Both include a soft-cap of the logits. Not covered: gradients of the head.
"""

from __future__ import annotations

from typing import Any

import torch

from conself_local.training.torch_backend.packed_linear import PackedHead

_LOGIT_ROWS = 128
"""Number of rows of logits (V,) of a dense head in memory at once."""
_VOCABULARY_CHUNK = 4096
"""Maximum number of tokens whose logits (N,) are in memory at once for a head in blocks."""


def head_logps(
    hidden: torch.Tensor, head: torch.nn.Linear, targets: torch.Tensor, cap: float | None = None
) -> torch.Tensor:
    """Return log softmax(cap(hidden @ head.T))[target], in nats: (N,) float32, with a gradient for `hidden` only.

    hidden: (N, D); targets: (N,); cap: None, or c of c * tanh(x / c).
    """
    logps: torch.Tensor
    if isinstance(head, PackedHead) and not head.weight.numel():
        logps = _PackedHeadLogps.apply(hidden, head, targets, cap)  # type: ignore[no-untyped-call]
        head.on_progress()
    else:
        logps = _DenseHeadLogps.apply(hidden, head.weight, targets, cap)  # type: ignore[no-untyped-call]
    return logps


class _DenseHeadLogps(torch.autograd.Function):
    """The log-probabilities by a dense weight (V, D)."""

    @staticmethod
    def forward(
        ctx: Any, hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor, cap: float | None
    ) -> torch.Tensor:
        logps = torch.empty(len(targets), device=hidden.device)
        hidden_grads = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        for start in range(0, len(targets), _LOGIT_ROWS):
            part = slice(start, start + _LOGIT_ROWS)
            part_targets = targets[part]
            logits = hidden[part] @ weight.T
            if cap is not None:
                logits = logits.float().div_(cap).tanh_()
            all_logps = torch.log_softmax(logits if cap is None else logits * cap, dim=-1, dtype=torch.float32)
            logps[part] = all_logps.gather(1, part_targets[:, None])[:, 0]
            if hidden_grads is None:
                continue
            if cap is None:
                hidden_grads[part] = weight[part_targets] - all_logps.exp_().to(weight.dtype) @ weight
            else:
                of_logits = all_logps.exp_().neg_()
                of_logits[torch.arange(len(part_targets)), part_targets] += 1
                slope = logits.square_().neg_().add_(1)  # of c * tanh(x / c)
                hidden_grads[part] = of_logits.mul_(slope).to(weight.dtype) @ weight
        return _keep(ctx, logps, hidden_grads)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None, None, None]:
        return _scaled(ctx, gradients[0]), None, None, None


class _PackedHeadLogps(torch.autograd.Function):
    """The log-probabilities by a head in blocks; every sum over the vocabulary is relative to the largest logit yet."""

    @staticmethod
    def forward(
        ctx: Any, hidden: torch.Tensor, head: PackedHead, targets: torch.Tensor, cap: float | None
    ) -> torch.Tensor:
        count, needs_grad = len(targets), ctx.needs_input_grad[0]
        largest = hidden.new_full((count,), -torch.inf, dtype=torch.float32)
        total, of_target = torch.zeros_like(largest), torch.zeros_like(largest)
        expected = torch.zeros_like(hidden, dtype=torch.float32) if needs_grad else None
        target_rows = torch.zeros_like(hidden, dtype=torch.float32) if needs_grad else None
        for rows, weight in head.weight_chunks(_VOCABULARY_CHUNK):
            logits = (hidden @ weight.T).float()
            slope = None
            if cap is not None:
                squashed = logits.div_(cap).tanh_()
                slope = 1 - squashed.square()  # of c * tanh(x / c)
                logits = squashed.mul_(cap)
            is_here = (targets >= rows.start) & (targets < rows.stop)
            local = (targets - rows.start).clamp(0, len(weight) - 1)
            of_target = torch.where(is_here, logits.gather(1, local[:, None])[:, 0], of_target)
            before, largest = largest, torch.maximum(largest, logits.max(dim=1).values)
            rescale = (before - largest).exp()
            shares = logits.sub_(largest[:, None]).exp_()
            total = total * rescale + shares.sum(dim=1)
            if expected is None or target_rows is None:
                continue
            of_rows = weight[local].float()
            if slope is not None:
                shares = shares.mul_(slope)
                of_rows *= slope.gather(1, local[:, None])
            expected.mul_(rescale[:, None]).add_(shares.to(weight.dtype) @ weight)
            target_rows += torch.where(is_here[:, None], of_rows, 0.0)
        hidden_grads = None
        if expected is not None and target_rows is not None:
            hidden_grads = target_rows.sub_(expected.div_(total[:, None])).to(hidden.dtype)
        return _keep(ctx, of_target - largest - total.log(), hidden_grads)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None, None, None]:
        return _scaled(ctx, gradients[0]), None, None, None


def _keep(ctx: Any, logps: torch.Tensor, hidden_grads: torch.Tensor | None) -> torch.Tensor:
    if hidden_grads is not None:
        ctx.save_for_backward(hidden_grads)
    return logps


def _scaled(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
    """Return the gradient of the hidden values (N, D) for the gradient of the log-probabilities (N,)."""
    (hidden_grads,) = ctx.saved_tensors
    return (gradient[:, None] * hidden_grads).to(hidden_grads.dtype)
