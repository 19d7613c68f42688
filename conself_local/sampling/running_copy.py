"""A faster copy of the model to sample from: BF16, the shipped values up to rounding, kept in the cache by hash.

Some GGUF formats (Q4_1, Q5_0) have no fast matrix-matrix kernel on a processor; where it computes in BF16, the
copy samples about twice as fast. Training and its reference stay on the shipped file; the gap in
log-probability between the two is measured and shown (`round.py`).
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

from conself_local.errors import ConselfError
from conself_local.sampling.gguf_file import ModelFile

_NATIVE = {"BF16", "F16", "F32"}
LARGEST_COPY_BYTES = 4 * 2**30


def processor_has_bf16() -> bool:
    """Whether this processor multiplies BF16 in hardware (Linux: told by /proc/cpuinfo; elsewhere: False)."""
    if platform.system() != "Linux":
        return False
    flags = Path("/proc/cpuinfo").read_text(errors="replace")
    return "avx512_bf16" in flags or "amx_bf16" in flags or " bf16" in flags


def ensure_running_copy(model: ModelFile, cache: Path) -> Path:
    """The path to sample from: the model itself, or its BF16 copy where that pays and fits (4 GiB at most)."""
    weights = {kind for kind, _ in model.formats}
    predicted = model.size_bytes * 16 // 4
    if weights <= _NATIVE or not processor_has_bf16() or predicted > LARGEST_COPY_BYTES:
        return model.path
    target = cache / "running-copies" / f"{model.sha256[:32]}-bf16.gguf"
    if target.is_file():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_suffix(f".part{os.getpid()}")
    command = [sys.executable, "-m", "conself_local.sampling.running_copy", str(model.path), str(part)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode != 0 or not part.is_file():
        part.unlink(missing_ok=True)
        raise ConselfError(
            f"the BF16 copy of {model.path.name} could not be made: {done.stderr.strip()[-300:]}",
            f"make room in {target.parent} or run with --running-copy shipped",
        )
    part.rename(target)
    return target


def _make_copy(source: str, target: str) -> int:
    import llama_cpp as ll

    params = ll.llama_model_quantize_default_params()
    params.ftype = ll.LLAMA_FTYPE_MOSTLY_BF16
    params.allow_requantize = True
    params.nthread = os.cpu_count() or 1
    return int(ll.llama_model_quantize(source.encode(), target.encode(), params))


if __name__ == "__main__":
    sys.exit(_make_copy(sys.argv[1], sys.argv[2]))
