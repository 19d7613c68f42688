"""The norm and the gated layer of the llama family, for frozen weights: same values, fewer of them kept for the way back.

transformers' norm keeps a float32 copy of its input and its gated layer keeps the activation beside its two factors; these
keep what cannot be made again cheaply. Held to transformers' own by test.
"""

from __future__ import annotations

from typing import Any

import torch


class LeanNorm(torch.nn.Module):
    """Root mean square norm with a frozen weight, computed in float32: (..., size) -> (..., size)."""

    def __init__(self, weight: torch.nn.Parameter, epsilon: float) -> None:
        super().__init__()
        self.weight = weight
        self._epsilon = epsilon

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        normed: torch.Tensor = _Norm.apply(x, self.weight, self._epsilon)  # type: ignore[no-untyped-call]
        return normed


class _Norm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, epsilon: float) -> torch.Tensor:
        wide = x.float()
        scale = torch.rsqrt(wide.square().mean(-1, keepdim=True) + epsilon)
        ctx.save_for_backward(x, weight, scale)
        return weight * (wide * scale).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        x, weight, scale = ctx.saved_tensors
        normed = x.float().mul_(scale)
        slope = (gradients[0] * weight).float()
        drift = (slope * normed).mean(-1, keepdim=True)
        return slope.sub_(normed.mul_(drift)).mul_(scale).to(x.dtype), None, None


class LeanGatedMlp(torch.nn.Module):
    """down(silu(gate(x)) * up(x))"""

    def __init__(self, gate: torch.nn.Module, up: torch.nn.Module, down: torch.nn.Module) -> None:
        super().__init__()
        self.gate_proj, self.up_proj, self.down_proj = gate, up, down

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.down_proj(_Gated.apply(self.gate_proj(x), self.up_proj(x)))  # type: ignore[no-untyped-call]
        return out


class _Gated(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(gate, up)
        return torch.nn.functional.silu(gate).mul_(up)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        gate, up = ctx.saved_tensors
        of_up = torch.nn.functional.silu(gate).mul_(gradients[0])
        of_gate = torch.ops.aten.silu_backward(gradients[0] * up, gate)
        return of_gate, of_up


def use_lean_layers(base: Any) -> None:
    """In place of those of a llama or qwen2 model; nothing else changes, names neither."""
    epsilon = base.config.rms_norm_eps
    for layer in base.model.layers:
        layer.input_layernorm = LeanNorm(layer.input_layernorm.weight, epsilon)
        layer.post_attention_layernorm = LeanNorm(layer.post_attention_layernorm.weight, epsilon)
        layer.mlp = LeanGatedMlp(layer.mlp.gate_proj, layer.mlp.up_proj, layer.mlp.down_proj)
    base.model.norm = LeanNorm(base.model.norm.weight, epsilon)
