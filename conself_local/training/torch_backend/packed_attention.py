"""Compute attention over one packed sequence on a CPU by batched matrix products; heads that share keys are one matrix.

It is faster than torch's fused attention with a mask. The only T x T values that are kept for the backward pass are the
attention weights, in the model's precision; for long sequences they are recomputed too (as in arXiv 2205.14135).
Not covered: dropout, which is ignored.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import AttentionInterface

NAME = "conself_packed"
KEPT_TOKENS = 768
"""Maximum T at which attention weights are kept; those of all layers of a longer sequence take too much memory."""


def packed_attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor,
    scaling: float | None = None,
    dropout: float = 0.0,
    **others: Any,
) -> tuple[torch.Tensor, None]:
    """Return the attention output (1, T, H, D), and None for the weights.

    query: (1, H, T, D); key, value: (1, K, T, D), with H a multiple of K; attention_mask: (1, 1, T, T), added to the
    scores. `scaling` is D ** -0.5 by default.
    """
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    heads, size = query.shape[1], query.shape[-1]
    grouped = query[0].reshape(key.shape[1], -1, size)
    out: torch.Tensor = _Attention.apply(grouped, key[0], value[0], attention_mask[0, 0], scale)  # type: ignore[no-untyped-call]
    return out.reshape(heads, -1, size).transpose(0, 1)[None], None


class _Attention(torch.autograd.Function):
    """Attention of (K, G * T, D) queries, the G heads that share keys one after the other.

    key, value: (K, T, D); mask: (T, T).
    """

    @staticmethod
    def forward(
        ctx: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor, scale: float
    ) -> torch.Tensor:
        weights = _weights(query, key, mask, scale)
        ctx.save_for_backward(query, key, value, mask, *([weights] if len(mask) <= KEPT_TOKENS else []))
        ctx.scale = scale
        return weights @ value

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, None, None]:
        query, key, value, mask, *kept = ctx.saved_tensors
        weights = kept[0] if kept else _weights(query, key, mask, ctx.scale)
        grad_out = gradients[0].to(value.dtype)
        grad_value = weights.transpose(1, 2) @ grad_out
        grad_weights = grad_out @ value.transpose(1, 2)
        grad_scores = torch.ops.aten._softmax_backward_data(grad_weights, weights, -1, weights.dtype)
        grad_query = (grad_scores @ key).mul_(ctx.scale)
        grad_key = (grad_scores.transpose(1, 2) @ query).mul_(ctx.scale)
        return grad_query, grad_key, grad_value, None, None


def _weights(query: torch.Tensor, key: torch.Tensor, mask: torch.Tensor, scale: float) -> torch.Tensor:
    """Return the attention weights (K, G * T, T); each row sums to 1."""
    masks = mask.repeat(query.shape[1] // mask.shape[0], 1).expand(len(key), -1, -1)
    return torch.softmax(torch.baddbmm(masks, query, key.transpose(1, 2), alpha=scale), dim=-1)


AttentionInterface.register(NAME, packed_attention)
