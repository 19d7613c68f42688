"""Let the layers of an MLX model be computed again in the backward pass, so that their inner values are not kept.

This is gradient checkpointing: about a third more arithmetic, and far less memory. Only the class of the given layers
changes, not that of all models in the process. Source: mlx-lm, tuner/trainer.py (`grad_checkpoint`); read and restated.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import mlx.core as mx

_PLAIN = "plain_layer"
"""Attribute of a class with checkpointing: the class without."""


def set_checkpointing(layers: Sequence[Any], on: bool) -> None:
    """Switch checkpointing on or off for each of the layers; a layer that has it already, or not, stays as it is."""
    for layer in layers:
        plain: Any = getattr(type(layer), _PLAIN, type(layer))
        layer.__class__ = _checkpointed(plain) if on else plain


@cache
def _checkpointed(plain: Any) -> Any:
    """Return a class of layers that compute what `plain` does, with checkpointing."""

    def call(layer: Any, *arguments: Any, **named: Any) -> Any:
        def compute(parameters: Any, *arguments: Any, **named: Any) -> Any:
            layer.update(parameters)
            return plain.__call__(layer, *arguments, **named)

        return mx.checkpoint(compute)(layer.trainable_parameters(), *arguments, **named)

    return type(f"Checkpointed{plain.__name__}", (plain,), {"__call__": call, _PLAIN: plain})
