"""Replace the norm and the gated MLP of the llama family by versions that keep less memory for the backward pass.

transformers' norm keeps a float32 copy of its input, and its gated MLP keeps the activation beside its two factors;
these versions keep only what is expensive to compute again. A test compares them with those of transformers. The
weights must be frozen: gradients of the norm's weight are not computed.
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
        """Return the normed `x`, with its shape and dtype."""
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
        grad_normed = (gradients[0] * weight).float()
        projection = (grad_normed * normed).mean(-1, keepdim=True)
        return grad_normed.sub_(normed.mul_(projection)).mul_(scale).to(x.dtype), None, None


class LeanGatedMlp(torch.nn.Module):
    """The gated MLP: down(silu(gate(x)) * up(x))."""

    def __init__(self, gate: torch.nn.Module, up: torch.nn.Module, down: torch.nn.Module) -> None:
        super().__init__()
        self.gate_proj, self.up_proj, self.down_proj = gate, up, down

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (..., size) for `x` (..., size)."""
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
        grad_up = torch.nn.functional.silu(gate).mul_(gradients[0])
        grad_gate = torch.ops.aten.silu_backward(gradients[0] * up, gate)
        return grad_gate, grad_up


def use_lean_layers(base: Any) -> None:
    """Replace all norms and MLPs of a llama or qwen2 model; the names of its parameters do not change."""
    epsilon = base.config.rms_norm_eps
    for layer in base.model.layers:
        layer.input_layernorm = LeanNorm(layer.input_layernorm.weight, epsilon)
        layer.post_attention_layernorm = LeanNorm(layer.post_attention_layernorm.weight, epsilon)
        layer.mlp = LeanGatedMlp(layer.mlp.gate_proj, layer.mlp.up_proj, layer.mlp.down_proj)
    base.model.norm = LeanNorm(base.model.norm.weight, epsilon)
