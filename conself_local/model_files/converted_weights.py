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

SHIPPED = "shipped"
KEEPS_VALUES = ("BF16", "F16")
LOSES_QUALITY = ("Q8_0", "Q4_0")
FORMATS = (SHIPPED, *KEEPS_VALUES, *LOSES_QUALITY)
_BITS = {"BF16": 16.0, "F16": 16.0, "Q8_0": 8.5, "Q4_0": 4.5}
_NATIVE = {"BF16", "F16", "F32"}
LARGEST_COPY_BYTES = 4 * 2**30
_F16_FEATURES = frozenset({"avx2", "fma", "f16c"})






def automatic_format(model: ModelFile, features: frozenset[str]) -> str:
    """Without a probe: the 16-bit format that a processor of these features computes fast, where it has one, else the file as it is.

    Without BF16 in hardware, AVX2 with F16C samples from F16 1.7 to 1.9 times as fast as from Q4_1 and Q4_K_M (`conself tune`).
    """
    if {kind for kind, _ in model.formats} <= _NATIVE:
        return SHIPPED
    if features & BF16_FEATURES:
        return "BF16"
    return "F16" if features >= _F16_FEATURES else SHIPPED


def copy_fits(model: ModelFile, form: str, cache: Path, memory: int | None) -> bool:
    """Whether a copy is not too large to be made unasked: at most `LARGEST_COPY_BYTES`, half of the free memory (bytes; None: not
    known), and, where the cache has none yet, half of the free disk."""
    size = copy_bytes(model, form)
    if size > LARGEST_COPY_BYTES or (memory is not None and 2 * size > memory):
        return False
    existing = next(folder for folder in (cache, *cache.absolute().parents) if folder.is_dir())
    return copy_path(model, form, cache).is_file() or 2 * size <= shutil.disk_usage(existing).free


def copy_bytes(model: ModelFile, form: str) -> int:
    """About how large the copy will be."""
    return model.size_bytes if form == SHIPPED else int(model.weights * _BITS[form] / 8)


def copy_path(model: ModelFile, form: str, cache: Path) -> Path:
    return cache / "running-copies" / f"{model.sha256[:32]}-{form.lower()}.gguf"


def make_running_copy(model: ModelFile, form: str, cache: Path) -> Path:
    """The path to sample from: the model itself for `shipped`, else its copy, made now where the cache has none."""
    if form == SHIPPED:
        return model.path
    if form not in FORMATS:
        raise ConselfError(f"there is no running copy in {form!r}", f"known are {', '.join(FORMATS)}")
    target = copy_path(model, form, cache)
    if target.is_file():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_suffix(f".part{os.getpid()}")
    command = [sys.executable, "-m", "conself_local.model_files.converted_weights", str(model.path), str(part), form]
    done = subprocess.run(command, capture_output=True, text=True, env=child_environment())
    if done.returncode != 0 or not part.is_file():
        part.unlink(missing_ok=True)
        raise ConselfError(
            f"the {form} copy of {model.path.name} could not be made: {done.stderr.strip()[-300:]}",
            f"make room in {target.parent} or run with --running-copy shipped",
        )
    part.rename(target)
    return target


def _make_copy(source: str, target: str, form: str) -> int:
    import llama_cpp as ll

    params = ll.llama_model_quantize_default_params()
    params.ftype = getattr(ll, f"LLAMA_FTYPE_MOSTLY_{form}")
    params.allow_requantize = True
    params.nthread = usable_cores()
    return int(ll.llama_model_quantize(source.encode(), target.encode(), params))


if __name__ == "__main__":
    sys.exit(_make_copy(*sys.argv[1:4]))
