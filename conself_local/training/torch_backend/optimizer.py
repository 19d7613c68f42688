"""Update the adapter by AdamW with clipped gradients, with its state on the device or, to save that, in main memory.

In main memory the update is computed on a copy of the adapter, with the same arithmetic. Parameters are updated one
after the other: a step needs no temporary memory of the adapter's size. Not covered: weight decay, which is 0.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

_STATE = ("step", "exp_avg", "exp_avg_sq")


class AdapterOptimizer:
    """AdamW over the named parameters of an adapter."""

    def __init__(self, named: Mapping[str, torch.nn.Parameter], learning_rate: float, max_gradient_norm: float) -> None:
        self._named, self._rate, self._max_norm = named, learning_rate, max_gradient_norm
        self._parameters = list(named.values())
        self._updated = self._parameters
        self._adam = self._make_adam()

    @property
    def is_in_main_memory(self) -> bool:
        """Whether the state is kept in main memory by `move_to_main_memory`."""
        return self._updated is not self._parameters

    def move_to_main_memory(self) -> None:
        """Keep the state, and the copy of the adapter that is updated, in main memory from now on."""
        states = [self._adam.state.get(p, {}) for p in self._updated]
        self._updated = [torch.nn.Parameter(p.detach().cpu().clone()) for p in self._parameters]
        self._adam = self._make_adam()
        for p, state in zip(self._updated, states, strict=True):
            if "exp_avg_sq" in state:
                self._adam.state[p] = {key: value.cpu() for key, value in state.items()}

    def step(self, learning_rate: float) -> float:
        """Take one step with the clipped gradients, reset them, and return the gradient norm before clipping."""
        for group in self._adam.param_groups:
            group["lr"] = learning_rate
        norm = float(torch.nn.utils.clip_grad_norm_(self._parameters, self._max_norm))
        if self.is_in_main_memory:
            for copy, p in zip(self._updated, self._parameters, strict=True):
                copy.grad = None if p.grad is None else p.grad.cpu()
        self._adam.step()
        if self.is_in_main_memory:
            self._copy_back()
        self.reset_gradients()
        return norm

    def reset_gradients(self) -> None:
        """Release all gradients."""
        for p in (*self._parameters, *self._updated):
            p.grad = None

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return the adapter as `weight/NAME` and the state as `exp_avg/NAME` and so on, in main memory."""
        found = {f"weight/{name}": p.detach().cpu().contiguous() for name, p in self._named.items()}
        for name, p in zip(self._named, self._updated, strict=True):
            for key, value in self._adam.state.get(p, {}).items():
                found[f"{key}/{name}"] = value.detach().cpu().contiguous()
        return found

    def load(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Restore what `tensors` returned; parameters without a state start anew."""
        with torch.no_grad():
            for p, updated, name in zip(self._parameters, self._updated, self._named, strict=True):
                p.copy_(tensors[f"weight/{name}"])
                updated.copy_(tensors[f"weight/{name}"])
                state = {key: tensors[f"{key}/{name}"] for key in _STATE if f"{key}/{name}" in tensors}
                self._adam.state[updated] = {
                    key: value if key == "step" else value.to(updated.device) for key, value in state.items()
                }

    def _copy_back(self) -> None:
        with torch.no_grad():
            for copy, p in zip(self._updated, self._parameters, strict=True):
                p.copy_(copy)

    def _make_adam(self) -> torch.optim.AdamW:
        return torch.optim.AdamW(self._updated, lr=self._rate, weight_decay=0.0, foreach=False)
