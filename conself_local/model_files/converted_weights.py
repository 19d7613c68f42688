"""A faster copy of the model to sample from, in another number format, kept in the cache by content hash.

Some GGUF formats (Q4_1, Q5_0) have no fast matrix-matrix kernel on a processor; a copy in one that has samples about
twice as fast. BF16 and F16 keep the shipped values up to rounding, the others lose some. Training and its reference
stay on the shipped file; the gap in log-probability between the two is measured and shown (`round.py`, `tune.py`).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from conself_local.errors import ConselfError
from conself_local.machine.child_environment import child_environment
from conself_local.machine.processor import BF16_FEATURES
from conself_local.machine.resources import usable_cores
from conself_local.model_files.model_file import ModelFile

ORIGINAL = "shipped"
LOSSLESS_FORMATS = ("BF16", "F16")
LOSSY_FORMATS = ("Q8_0", "Q4_0")
FORMATS = (ORIGINAL, *LOSSLESS_FORMATS, *LOSSY_FORMATS)
_BITS = {"BF16": 16.0, "F16": 16.0, "Q8_0": 8.5, "Q4_0": 4.5}
_NATIVE = {"BF16", "F16", "F32"}
LARGEST_CONVERSION_BYTES = 4 * 2**30
_F16_FEATURES = frozenset({"avx2", "fma", "f16c"})


def automatic_format(model: ModelFile, features: frozenset[str]) -> str:
    """Without a probe: the 16-bit format that a processor of these features computes fast, where it has one, else the file as it is.

    Without BF16 in hardware, AVX2 with F16C samples from F16 1.7 to 1.9 times as fast as from Q4_1 and Q4_K_M (`conself tune`).
    """
    if {quant_type for quant_type, _ in model.formats} <= _NATIVE:
        return ORIGINAL
    if features & BF16_FEATURES:
        return "BF16"
    return "F16" if features >= _F16_FEATURES else ORIGINAL


def conversion_fits(model: ModelFile, weights_format: str, cache: Path, memory: int | None) -> bool:
    """Whether a copy is not too large to be made unasked: at most `LARGEST_CONVERSION_BYTES`, half of the free memory (bytes; None: not
    known), and, where the cache has none yet, half of the free disk."""
    size = converted_bytes(model, weights_format)
    if size > LARGEST_CONVERSION_BYTES or (memory is not None and 2 * size > memory):
        return False
    existing = next(folder for folder in (cache, *cache.absolute().parents) if folder.is_dir())
    return converted_path(model, weights_format, cache).is_file() or 2 * size <= shutil.disk_usage(existing).free


def converted_bytes(model: ModelFile, weights_format: str) -> int:
    """About how large the copy will be."""
    return model.size_bytes if weights_format == ORIGINAL else int(model.weights * _BITS[weights_format] / 8)


def converted_path(model: ModelFile, weights_format: str, cache: Path) -> Path:
    return cache / "running-copies" / f"{model.sha256[:32]}-{weights_format.lower()}.gguf"


def ensure_converted_weights(model: ModelFile, weights_format: str, cache: Path) -> Path:
    """The path to sample from: the model itself for `shipped`, else its copy, made now where the cache has none."""
    if weights_format == ORIGINAL:
        return model.path
    if weights_format not in FORMATS:
        raise ConselfError(f"there are no converted weights in {weights_format!r}", f"known are {', '.join(FORMATS)}")
    target = converted_path(model, weights_format, cache)
    if target.is_file():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_suffix(f".part{os.getpid()}")
    command = [
        sys.executable,
        "-m",
        "conself_local.model_files.converted_weights",
        str(model.path),
        str(part),
        weights_format,
    ]
    done = subprocess.run(command, capture_output=True, text=True, env=child_environment())
    if done.returncode != 0 or not part.is_file():
        part.unlink(missing_ok=True)
        raise ConselfError(
            f"the {weights_format} copy of {model.path.name} could not be made: {done.stderr.strip()[-300:]}",
            f"make room in {target.parent} or run with --weights-format shipped",
        )
    part.rename(target)
    return target


def _convert(source: str, target: str, weights_format: str) -> int:
    import llama_cpp as ll

    params = ll.llama_model_quantize_default_params()
    params.ftype = getattr(ll, f"LLAMA_FTYPE_MOSTLY_{weights_format}")
    params.allow_requantize = True
    params.nthread = usable_cores()
    return int(ll.llama_model_quantize(source.encode(), target.encode(), params))


if __name__ == "__main__":
    sys.exit(_convert(*sys.argv[1:4]))
