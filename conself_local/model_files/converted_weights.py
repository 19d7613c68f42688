"""Converts a model to a weights format that samples faster, and keeps the converted weights in the cache.

Some GGUF formats (Q4_1, Q5_0) have no fast matrix-matrix kernel on a CPU; weights in a format that has one sample
about twice as fast. BF16 and F16 keep the original values up to rounding, the other formats lose some precision.
The name of a file in the cache begins with the sha256 of the original file; if an adapter is merged into the weights
(`adapters/merged_weights.py`), the sha256 of the adapter follows.
Not affected: training and its reference log-probabilities always use the original file. Not done here: measuring the
difference in log-probability between the two files (`round/run.py`, `sampling/tuning.py`).
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import psutil

from conself_local.errors import ConselfError
from conself_local.machine.child_environment import child_environment
from conself_local.machine.processor import BF16_FEATURES
from conself_local.machine.resources import usable_cores
from conself_local.model_files.model import Model
from conself_local.model_files.model_file import ModelFile

ORIGINAL = "shipped"
"""The weights format that means no conversion: sample from the original file."""
LOSSLESS_FORMATS = ("BF16", "F16")
LOSSY_FORMATS = ("Q8_0", "Q4_0")
FORMATS = (ORIGINAL, *LOSSLESS_FORMATS, *LOSSY_FORMATS)
AUTOMATIC = "auto"
FORMAT_CHOICES = (AUTOMATIC, *FORMATS)
"""What a user may choose: one of the formats, or that the program chooses one."""
_BITS_PER_WEIGHT = {"BF16": 16.0, "F16": 16.0, "Q8_0": 8.5, "Q4_0": 4.5}
_FOLDER = "running-copies"
_FORMAT_NAMES = "|".join(name.lower() for name in FORMATS[1:])
_CONVERTED_NAME = re.compile(rf"[0-9a-f]{{32}}(-[0-9a-f]{{32}})?-({_FORMAT_NAMES})\.gguf")
_UNFINISHED_NAME = re.compile(r"[0-9a-f]{32}-\w+\.part(?P<pid>[1-9][0-9]{0,9})")
_UNFINISHED_MERGE = re.compile(r"\.[0-9a-f]{32}-[0-9a-f]{32}-\w+\.gguf\..*")
_UNQUANTISED = {"BF16", "F16", "F32"}
LARGEST_CONVERSION_BYTES = 4 * 2**30
"""The largest conversion that is made without asking the user."""
_F16_FEATURES = frozenset({"avx2", "fma", "f16c"})


def automatic_format(model: Model, features: frozenset[str]) -> str:
    """Return the weights format to sample from if nothing was measured on this computer.

    That is the 16-bit format that a CPU with these feature flags computes fast, or `ORIGINAL` if there is none or if
    the file has no quantised tensors. Without BF16 in hardware, a CPU with AVX2 and F16C samples from F16 1.7 to 1.9
    times as fast as from Q4_1 and Q4_K_M (measured with `conself tune`).
    """
    if {quant_type for quant_type, _ in model.formats} <= _UNQUANTISED:
        return ORIGINAL
    if features & BF16_FEATURES:
        return "BF16"
    return "F16" if features >= _F16_FEATURES else ORIGINAL


def conversion_fits(model: Model, weights_format: str, cache: Path, memory: int | None) -> bool:
    """Return whether the converted weights are small enough to be made without asking the user.

    They may take at most `LARGEST_CONVERSION_BYTES` and half of the free memory (`memory`, in bytes; None if unknown).
    If the cache does not hold them yet, they may also take at most half of the free disk space.
    """
    size = converted_bytes(model, weights_format)
    if size > LARGEST_CONVERSION_BYTES or (memory is not None and 2 * size > memory):
        return False
    existing = next(folder for folder in (cache, *cache.absolute().parents) if folder.is_dir())
    return converted_path(model, weights_format, cache).is_file() or 2 * size <= shutil.disk_usage(existing).free


def converted_bytes(model: Model, weights_format: str) -> int:
    """Estimate the size of the converted weights in bytes; exact for `ORIGINAL`."""
    return model.size_bytes if weights_format == ORIGINAL else int(model.weights * _BITS_PER_WEIGHT[weights_format] / 8)


def converted_path(model: Model, weights_format: str, cache: Path) -> Path:
    """Return where the cache keeps the converted weights, which may not exist yet."""
    return cache / _FOLDER / f"{model.sha256[:32]}-{weights_format.lower()}.gguf"


def merged_path(model: ModelFile, adapter_sha256: str, weights_format: str, cache: Path) -> Path:
    """Return where the cache keeps the converted weights with an adapter merged into them, which may not exist yet."""
    return cache / _FOLDER / f"{model.sha256[:32]}-{adapter_sha256[:32]}-{weights_format.lower()}.gguf"


def list_unfinished_merges(cache: Path) -> list[Path]:
    """Return the files of merges that have not ended; a process may still be writing them."""
    folder = cache / _FOLDER
    found = folder.iterdir() if folder.is_dir() else ()
    return sorted(p for p in found if _UNFINISHED_MERGE.fullmatch(p.name) and p.is_file() and not p.is_symlink())


def list_converted(cache: Path) -> tuple[list[Path], list[Path]]:
    """Return (the converted weights of any model in the cache, the unfinished ones of processes that have ended)."""
    try:
        files = [path for path in sorted((cache / _FOLDER).iterdir()) if path.is_file() and not path.is_symlink()]
    except (FileNotFoundError, NotADirectoryError):
        return [], []
    unfinished = [(path, match) for path in files if (match := _UNFINISHED_NAME.fullmatch(path.name))]
    left = [path for path, match in unfinished if not _is_being_written(path, int(match["pid"]))]
    return [path for path in files if _CONVERTED_NAME.fullmatch(path.name)], left


def is_converted_from(path: Path, model_sha256: str) -> bool:
    """Return whether these converted weights are those of the model with this sha256."""
    return path.name.startswith(f"{model_sha256[:32]}-")


def _is_being_written(part: Path, pid: int) -> bool:
    """Return whether the process that began the file can still be at work: it is older than the last change."""
    try:
        return psutil.Process(pid).create_time() <= part.stat().st_mtime
    except (psutil.Error, OSError):
        return False


def ensure_converted_weights(model: ModelFile, weights_format: str, cache: Path) -> Path:
    """Return the GGUF file to sample from: the original file for `ORIGINAL`, else the converted weights.

    A child process converts the model first if the cache does not hold the converted weights. Raises ConselfError for
    an unknown format, or if the conversion fails.
    """
    if weights_format == ORIGINAL:
        return model.path
    if weights_format not in FORMATS:
        raise ConselfError(f"unknown weights format {weights_format!r}", f"choose one of: {', '.join(FORMATS)}")
    target = converted_path(model, weights_format, cache)
    if target.is_file():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_suffix(f".part{os.getpid()}")
    _run_quantiser(
        model, part, weights_format, f"free some disk space in {target.parent}, or run with --weights-format shipped"
    )
    part.rename(target)
    return target


def write_single_file(model: ModelFile, target: Path) -> None:
    """Write the model, whose tensors stay as they are, to one file; of a split model, all parts are joined.

    Raises ConselfError if it cannot be written.
    """
    if len(model.parts) == 1:
        shutil.copyfile(model.path, target)
    else:
        _run_quantiser(model, target, ORIGINAL, f"free some disk space in {target.parent}")


def _run_quantiser(model: ModelFile, target: Path, weights_format: str, hint: str) -> None:
    """Write `target` in a child process. Raises ConselfError with `hint`, and leaves no file behind, if that fails."""
    module = "conself_local.model_files.converted_weights"
    command = [sys.executable, "-m", module, str(model.path), str(target), weights_format]
    done = subprocess.run(command, capture_output=True, text=True, env=child_environment())
    if done.returncode != 0 or not target.is_file():
        target.unlink(missing_ok=True)
        action = "joined" if weights_format == ORIGINAL else f"converted to {weights_format}"
        raise ConselfError(f"{model.path.name} could not be {action}: {done.stderr.strip()[-300:]}", hint)


def _convert(source: str, target: str, weights_format: str) -> int:
    """Write `target` with llama.cpp's quantiser; return its exit status, 0 for success."""
    import llama_cpp as ll

    params = ll.llama_model_quantize_default_params()
    if weights_format == ORIGINAL:
        params.only_copy = True
    else:
        params.ftype = getattr(ll, f"LLAMA_FTYPE_MOSTLY_{weights_format}")
    params.allow_requantize = True
    params.nthread = usable_cores()
    return int(ll.llama_model_quantize(source.encode(), target.encode(), params))


if __name__ == "__main__":
    sys.exit(_convert(*sys.argv[1:4]))
