"""Sample from a GGUF file with OpenVINO GenAI in a process of its own.

The file is a conversion of the model to F16 or Q8_0; tokenizer and chat template are the model file's. An adapter is
merged into a copy of that conversion, because OpenVINO's own adapters find nothing in a model that was read from GGUF.
Not covered: whether the model is read rightly (`openvino_proof.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from conself_local.errors import ConselfError
from conself_local.machine.openvino import openvino_version
from conself_local.model_files.model_file import ModelFile, verify_adapter_file
from conself_local.sampling.engine_process import ENGINE_HANG_SECONDS, EngineProcess

MergeAdapter = Callable[[Path], Path]
"""Returns the GGUF file into which an adapter is merged, and makes it if it does not exist yet."""


def no_adapters(adapter: Path) -> Path:
    """Refuse every adapter: for callers that sample from the base model only."""
    raise ConselfError(f"the adapter {adapter} was not merged for OpenVINO", "sample with --engine llama.cpp")


class OpenVinoProcess(EngineProcess):
    """Sample from `weights` with OpenVINO GenAI; adapters are GGUF LoRA files, which `merge` merges.

    `longest` is the maximum number of tokens of prompt and completion. `device` is `CPU`, or `GPU` for Intel graphics,
    which was never run. `precision` is the number format of the arithmetic (`f32`, `bf16`; empty: the fastest).
    """

    def __init__(
        self,
        model: ModelFile,
        weights: Path,
        *,
        slots: int,
        context_tokens: int,
        longest: int,
        threads: int,
        merge: MergeAdapter = no_adapters,
        device: str = "CPU",
        precision: str = "",
        on_notice: Callable[[str], None] = lambda text: None,
        hang_seconds: float = ENGINE_HANG_SECONDS,
    ) -> None:
        self.weights = weights
        self.runs_original = False
        self.description = f"{weights.name} in OpenVINO GenAI {openvino_version()}"
        self._merge = merge
        self._merged: dict[Path, Path] = {}
        arguments = {
            "--model": weights,
            "--described-by": model.path,
            "--slots": slots,
            "--context-tokens": context_tokens,
            "--longest": longest,
            "--threads": threads,
            "--device": device,
            "--precision": precision,
        }
        super().__init__(
            "openvino-genai",
            ["openvino", *(str(word) for pair in arguments.items() for word in pair)],
            slots,
            lambda adapter: verify_adapter_file(adapter, model),
            on_notice=on_notice,
            hang_seconds=hang_seconds,
        )

    def adapter_to_load(self, adapter: Path | None) -> Path | None:
        """Return the file into which an adapter is merged. Raises ConselfError if it cannot be merged."""
        if adapter is None:
            return None
        if adapter not in self._merged:
            self._merged[adapter] = self._merge(adapter)
        return self._merged[adapter]
