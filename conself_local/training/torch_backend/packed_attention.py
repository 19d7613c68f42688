"""Attention over one packed sequence on a processor: plain batched matrix products, all heads that share keys as one.

Faster than torch's fused attention with a mask. Of the T x T numbers only the attention weights are kept for the backward
pass, in the model's own precision; for long sequences not even they, but they are made again (as in arXiv 2205.14135).
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import AttentionInterface

NAME = "conself_packed"
KEPT_TOKENS = 768
"""Past it the attention weights of all layers would take too much memory."""


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
    """query: (1, H, T, D); key, value: (1, K, T, D), H a multiple of K; mask: (1, 1, T, T), added. -> (1, T, H, D)"""
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    heads, size = query.shape[1], query.shape[-1]
    grouped = query[0].reshape(key.shape[1], -1, size)
    out: torch.Tensor = _Attention.apply(grouped, key[0], value[0], attention_mask[0, 0], scale)  # type: ignore[no-untyped-call]
    return out.reshape(heads, -1, size).transpose(0, 1)[None], None


class _Attention(torch.autograd.Function):
    """query: (K, G * T, D), the G heads that share keys one after the other; key, value: (K, T, D); mask: (T, T)."""

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
        of_out = gradients[0].to(value.dtype)
        of_value = weights.transpose(1, 2) @ of_out
        of_weights = of_out @ value.transpose(1, 2)
        of_scores = torch.ops.aten._softmax_backward_data(of_weights, weights, -1, weights.dtype)
        of_query = (of_scores @ key).mul_(ctx.scale)
        of_key = (of_scores.transpose(1, 2) @ query).mul_(ctx.scale)
        return of_query, of_key, of_value, None, None


def _weights(query: torch.Tensor, key: torch.Tensor, mask: torch.Tensor, scale: float) -> torch.Tensor:
    """(K, G * T, T), rows sum to 1"""
    masks = mask.repeat(query.shape[1] // mask.shape[0], 1).expand(len(key), -1, -1)
    return torch.softmax(torch.baddbmm(masks, query, key.transpose(1, 2), alpha=scale), dim=-1)


AttentionInterface.register(NAME, packed_attention)
