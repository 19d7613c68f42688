"""Prove once per model that OpenVINO samples from the same model as llama.cpp, and remember the measured gap.

The proof is the gap in log-probability to llama.cpp on the original file (`logp_gap.py`). It depends on the model, the
weights format, the device and the version of OpenVINO GenAI, so a file in the cache has all of them in its name.
"""

from __future__ import annotations

import json
from pathlib import Path

from conself_local.errors import ConselfError
from conself_local.foreign_files import PARSER_ERRORS, read_text
from conself_local.machine.openvino import openvino_version
from conself_local.model_files.model import Model
from conself_local.model_files.model_file import ModelFile
from conself_local.new_files import whole_file
from conself_local.settings import fits

LARGEST_GAP = 0.25
"""A larger gap in nats per token means that another model is sampled: tiny files that are read wrongly have 0.4 to 1.7,
conversions to F16 and Q8_0 of the bundled model under 0.1, and its Q4_1, which the reader rounds again, 0.5."""
_MAX_BYTES = 4096


def load_gap(model: Model, weights_format: str, device: str, cache: Path) -> float | None:
    """Return the stored gap in nats per token; None if it was not measured yet, or if its file is damaged."""
    try:
        found = json.loads(read_text(_path(model, weights_format, device, cache), _MAX_BYTES))["gap"]
    except (OSError, *PARSER_ERRORS):
        return None
    return float(found) if fits(found, float) and found >= 0 else None


def store_gap(model: ModelFile, weights_format: str, device: str, cache: Path, gap: float) -> None:
    """Store a measured gap."""
    with whole_file(_path(model, weights_format, device, cache)) as part:
        part.write_text(json.dumps({"gap": gap}), encoding="utf-8")


def verify_gap(model: ModelFile, gap: float) -> None:
    """Raise ConselfError if the gap means that OpenVINO samples from another model."""
    if not gap <= LARGEST_GAP:
        raise ConselfError(
            f"OpenVINO does not compute {model.name} as llama.cpp does: their log-probabilities differ by {gap:.2f} "
            f"nats per token, and at most {LARGEST_GAP} are accepted",
            "sample with --engine llama.cpp",
        )


def _path(model: Model, weights_format: str, device: str, cache: Path) -> Path:
    name = f"{model.sha256[:32]}-{weights_format.lower()}-{device.lower()}-{openvino_version()}.json"
    return cache / "openvino" / name
