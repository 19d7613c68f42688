"""Compute the frequencies of rotary position embeddings of a GGUF file as llama.cpp does.

Covered: none, linear (both keys), factors of frequencies (`rope_freqs`, Llama 3), YaRN with and without log
multiplier, long and short factors (Phi-3), rotary dimensions that are a part of the head, another base for sliding
layers.
Not covered: positions in several sections (mrope).
Source: llama.cpp, `src/llama-model.cpp`, `src/llama-context.cpp` and `ggml/src/ggml-cpu/ops.cpp`, read and restated;
arXiv 2309.00071.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from conself_local.errors import ConselfError
from conself_local.model_files.ggml import Floats
from conself_local.model_files.metadata import Metadata

FREQUENCY_TENSORS = ("rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight")
"""Tensors that divide the frequencies; each has one value per pair of rotary dimensions."""
_KINDS = ("none", "linear", "yarn", "longrope")
_LARGEST_SCALE = 100.0
"""Factor of cosine and sine beyond which a file is damaged; those of today are below 3."""
_Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Rope:
    """The rotary embedding of one kind of layer."""

    inverse_frequencies: Floats
    """(rotary dimensions / 2,): the angle of a position is the position times this."""
    scale: float
    """Factor of cosine and sine."""


def rotary_dimensions(metadata: Metadata) -> int:
    """Return how many dimensions of a head are rotated. Raises ConselfError unless they are even and fit the head."""
    dimensions = metadata.whole("rope.dimension_count", metadata.head_size)
    if dimensions % 2 or dimensions > metadata.head_size:
        raise metadata.unusable("rope.dimension_count")
    return dimensions


def original_context(metadata: Metadata) -> int:
    """Return the context length that the model was trained with before its positions were scaled."""
    return metadata.whole("rope.scaling.original_context_length", metadata.whole("context_length"))


def rope(metadata: Metadata, factors: Mapping[str, Floats], context_tokens: int, *, sections: bool = False) -> Rope:
    """Return the rotary embedding of the layers with full attention.

    factors: those of `FREQUENCY_TENSORS` that the file has. context_tokens: the context that the engine is started
    with; a model with long and short factors uses the long ones beyond its original context. sections: whether
    positions may have sections.
    Raises ConselfError for a scaling that is not known, or if a tensor of factors has another size.
    """
    kind = metadata.text("rope.scaling.type", "linear")
    factor = metadata.number("rope.scaling.factor", metadata.number("rope.scale_linear", 0.0)) or 1.0
    if kind not in _KINDS or ("rope.dimension_sections" in metadata and not sections):
        what = kind if kind not in _KINDS else "several sections"
        raise ConselfError(
            f"{metadata.file_name} scales its positions in a way that is not known here ({what})",
            "this model can be sampled, but not trained",
        )
    base, dimensions = metadata.positive("rope.freq_base", 10000.0), rotary_dimensions(metadata)
    frequencies = _plain(base, dimensions)
    found = _factors(metadata, factors, context_tokens)
    if found is not None:
        if found.shape != frequencies.shape or not (np.isfinite(found) & (found > 0)).all():
            raise ConselfError(
                f"{metadata.file_name} has factors of frequencies that cannot be used",
                "the file is damaged; get it again",
            )
        frequencies = frequencies / found
    scale = metadata.number("rope.scaling.attn_factor", 1.0)
    if kind == "yarn":
        frequencies = _yarn(metadata, frequencies, factor, base)
        scale *= _yarn_scale(metadata, factor)
    elif kind != "none":
        frequencies = frequencies / factor
    found_frequencies = frequencies.astype(np.float32)
    if not (np.isfinite(found_frequencies) & (found_frequencies > 0)).all() or not 0 < scale < _LARGEST_SCALE:
        raise metadata.unusable("rope.scaling.factor")
    return Rope(found_frequencies, scale)


def sliding_rope(metadata: Metadata, default_base: float | None) -> Rope:
    """Return the rotary embedding of sliding layers, which is never scaled.

    default_base: base if the file states none for these layers; None means the base of the other layers.
    """
    base = metadata.positive("rope.freq_base", 10000.0) if default_base is None else default_base
    base = metadata.positive("rope.freq_base_swa", base)
    return Rope(_plain(base, rotary_dimensions(metadata)).astype(np.float32), 1.0)


def _plain(base: float, dimensions: int) -> _Doubles:
    frequencies: _Doubles = base ** (-np.arange(0, dimensions, 2, dtype=np.float64) / dimensions)
    return frequencies


def _factors(metadata: Metadata, factors: Mapping[str, Floats], context_tokens: int) -> Floats | None:
    if "rope_freqs.weight" in factors:
        return factors["rope_freqs.weight"]
    length = "long" if context_tokens > original_context(metadata) else "short"
    return factors.get(f"rope_factors_{length}.weight")


def _yarn(metadata: Metadata, frequencies: _Doubles, factor: float, base: float) -> _Doubles:
    """Return scaled frequencies: fast ones stay, slow ones are divided by the factor, with a ramp in between."""
    extrapolated = metadata.number("rope.scaling.yarn_ext_factor", 1.0)
    dimensions, original = rotary_dimensions(metadata), original_context(metadata)

    def dimension_of(turns: float) -> float:
        return dimensions * math.log(original / (turns * 2 * math.pi)) / (2 * math.log(base))

    first = max(0, math.floor(dimension_of(metadata.number("rope.scaling.yarn_beta_fast", 32.0))))
    last = min(dimensions - 1, math.ceil(dimension_of(metadata.number("rope.scaling.yarn_beta_slow", 1.0))))
    ramp = 1 - np.clip((np.arange(dimensions // 2) - first) / max(0.001, last - first), 0, 1)
    kept: _Doubles = ramp * extrapolated
    return frequencies / factor * (1 - kept) + frequencies * kept


def _yarn_scale(metadata: Metadata, factor: float) -> float:
    """Return YaRN's factor of cosine and sine: 0.1 * ln(factor) + 1, divided by the same with the log multiplier."""
    if not metadata.number("rope.scaling.yarn_ext_factor", 1.0) or factor <= 1:
        return 1.0
    multiplier = metadata.number("rope.scaling.yarn_log_multiplier", 0.0)
    scale = 0.1 * math.log(factor) + 1.0
    return scale / (0.1 * multiplier * math.log(factor) + 1.0) if multiplier else scale
