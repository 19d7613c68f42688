"""Name the engines that sample, and the settings that change how fast they are."""

from __future__ import annotations

from dataclasses import dataclass

LLAMA_CPP, OPENVINO, OPENVINO_GPU = "llama.cpp", "openvino", "openvino-gpu"
MLX = "mlx"
"""The only engine for folders of MLX weights; it reads nothing else."""
ENGINES = (LLAMA_CPP, OPENVINO, OPENVINO_GPU)
"""The engines for GGUF files. `openvino-gpu`, on Intel graphics, was never run, and is never chosen automatically."""
AUTO = "auto"
"""The engine that `conself tune` found to be the fastest, or llama.cpp."""


@dataclass(frozen=True)
class SamplingConfig:
    """The settings of the engine that change its speed."""

    format: str
    """One of `converted_weights.FORMATS`; one of `OPENVINO_FORMATS` for OpenVINO."""
    slots: int
    threads: int
    engine: str = LLAMA_CPP
    """One of `ENGINES`, or `MLX`."""

    def __str__(self) -> str:
        text = f"{self.format}, {self.slots} slots, {self.threads} threads"
        return text if self.engine == LLAMA_CPP else f"{self.engine}, {text}"
