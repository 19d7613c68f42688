"""Import OpenVINO GenAI so that it sends nothing, and open a file with it for sampling or for scoring.

OpenVINO's converter of models (`openvino.tools.ovc`) is the only part that uses `openvino_telemetry`, which may report
to Google Analytics. Both are kept from being imported for as long as the process runs; nothing here needs them.
Tokenizers are ours, so the pipeline gets one that knows nothing: it only has to exist.
Source of the API: openvino-genai 2026.4, `py_openvino_genai.pyi`.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from conself_local.errors import ConselfError

BLOCK_TOKENS = {"CPU": 32, "GPU": 16}
"""Device -> tokens per block of its KV cache."""
_BATCH_TOKENS = 512
_BLOCKED = ("openvino_telemetry", "openvino.tools.ovc")


@dataclass(frozen=True)
class RuntimeOptions:
    """How a file is opened."""

    slots: int
    """Maximum number of sequences at once."""
    context_tokens: int
    """Tokens of KV memory over all slots."""
    threads: int
    device: str = "CPU"
    precision: str = ""
    """Number format of the arithmetic, `f32` or `bf16`; empty: the fastest that the processor has."""


class Runtime:
    """The imported library."""

    def __init__(self) -> None:
        for name in _BLOCKED:
            sys.modules[name] = None  # type: ignore[assignment]  # its import raises ImportError, which OpenVINO expects
        try:
            import openvino
            import openvino_genai
        except (ImportError, OSError) as error:
            raise ConselfError(
                f"OpenVINO cannot be loaded: {str(error)[:300]}", "reinstall it, or sample with --engine llama.cpp"
            ) from error
        self._openvino: Any = openvino
        self.genai: Any = openvino_genai
        self._folder = TemporaryDirectory(prefix="conself-openvino-")
        self._tokenizer: Any = None

    def tensor(self, tokens: list[int]) -> Any:
        """Return token ids as the pipeline takes them: shape (1, n)."""
        return self._openvino.Tensor(np.array([tokens], dtype=np.int64))

    def open_pipeline(self, weights: Path, options: RuntimeOptions, *, scoring: bool) -> Any:
        """Return a pipeline over a GGUF file; `scoring`: without a prefix cache, which would hide log-probabilities.

        Raises ConselfError if OpenVINO cannot load the file.
        """
        scheduler = self.genai.SchedulerConfig()
        scheduler.cache_size = 0
        scheduler.num_kv_blocks = -(-options.context_tokens // BLOCK_TOKENS[options.device]) + 1
        scheduler.max_num_seqs = options.slots
        scheduler.max_num_batched_tokens = _BATCH_TOKENS
        scheduler.enable_prefix_caching = not scoring
        properties: dict[str, Any] = {"INFERENCE_PRECISION_HINT": options.precision} if options.precision else {}
        if options.device == "CPU":
            properties |= {"INFERENCE_NUM_THREADS": options.threads, "ENABLE_CPU_PINNING": False}
        try:
            return self.genai.ContinuousBatchingPipeline(
                str(weights), self._any_tokenizer(), scheduler, options.device, **properties
            )
        except (RuntimeError, IndexError) as error:
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            raise ConselfError(
                f"OpenVINO cannot load {weights.name} on the device {options.device}: {' | '.join(lines)[:300]}",
                "sample with --engine llama.cpp",
            ) from error

    def _any_tokenizer(self) -> Any:
        """Return a tokenizer that answers every text with the token 0."""
        if self._tokenizer is None:
            ops = self._openvino.opset13
            text = ops.parameter([-1], self._openvino.Type.string, name="text")
            one = ops.constant(np.array([1], np.int64))
            shape = ops.concat([ops.shape_of(text, output_type="i64"), one], 0)
            ids, mask = (ops.broadcast(ops.constant(np.int64(value)), shape) for value in (0, 1))
            ids.output(0).set_names({"input_ids"})
            mask.output(0).set_names({"attention_mask"})
            model = self._openvino.Model([ids, mask], [text], "tokenizer")
            self._openvino.save_model(model, f"{self._folder.name}/openvino_tokenizer.xml", compress_to_fp16=False)
            self._tokenizer = self.genai.Tokenizer(self._folder.name)
        return self._tokenizer
