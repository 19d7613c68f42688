"""The model in training with everything that trades its memory for time: dense weights, recomputation, optimiser state.

`plan.py` decides what is used, and `backend.py` again if the memory ends in the middle of a run. It changes no
result, except for rounding on a card. Not covered: the size of a micro-batch, which is the loop's (`trainer.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from conself_local.training.packing import Group, pack
from conself_local.training.torch_backend.model import token_logps
from conself_local.training.torch_backend.optimizer import AdapterOptimizer
from conself_local.training.torch_backend.packed_linear import dense_bytes, keep_dense


class TorchTrainee:
    """A model with an adapter, and its optimiser."""

    def __init__(self, model: Any, optimizer: AdapterOptimizer, device: torch.device) -> None:
        self._model, self._optimizer = model, optimizer
        self._device_module: Any = torch.get_device_module(device)
        self.is_dense = self._recomputes = False

    @property
    def adapter_bytes(self) -> int:
        """Bytes of the adapter's weights."""
        return sum(p.numel() * p.element_size() for p in self._model.parameters() if p.requires_grad)

    @property
    def dense_bytes(self) -> int:
        """Bytes that dense weights take beside the blocks."""
        return dense_bytes(self._model)

    def run(self, groups: Sequence[Group]) -> None:
        """Compute forward and backward of one micro-batch, wait for the device, and forget the gradients."""
        try:
            token_logps(self._model, pack(groups)).sum().backward()  # type: ignore[no-untyped-call]
            self._device_module.synchronize()
        finally:
            self._optimizer.reset_gradients()

    def keep_dense(self, dense: bool) -> None:
        """Unpack all weights permanently, or release that memory."""
        keep_dense(self._model, dense)
        self.is_dense = dense

    def recompute(self) -> None:
        """Compute activations again in the backward pass from now on, instead of keeping them."""
        self._model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        self._model.train()
        self._recomputes = True

    def offload_optimizer(self) -> None:
        """Keep the state of the optimiser in main memory from now on."""
        self._optimizer.move_to_main_memory()

    def save_more(self) -> str:
        """Use the next thing that saves memory, and return it in words; an empty text if nothing is left."""
        if self.is_dense:
            self.keep_dense(False)
            return "the weights stay in the file's blocks"
        if not self._recomputes:
            self.recompute()
            return "activations are computed twice"
        if not self._optimizer.is_in_main_memory:
            self.offload_optimizer()
            return "the optimiser's state is kept in main memory"
        return ""
