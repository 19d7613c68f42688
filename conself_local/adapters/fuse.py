"""Merge an adapter into a copy of a folder of MLX weights, as `mlx_lm.fuse` does, in a child process.

The child gives its memory back before the result is measured. A quantised map is unpacked, changed, and packed again in
its own format unless 16-bit weights are asked for. Tokenizer and template are copied byte for byte.
Not covered: whether the change survives the rounding; `export.py` measures it.
Source: mlx-lm, fuse.py; read and restated.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from conself_local.errors import ConselfError
from conself_local.machine.child_environment import child_environment
from conself_local.machine.mlx import verify_mlx
from conself_local.model_files.converted_weights import ORIGINAL
from conself_local.model_files.mlx_adapter import verify_mlx_adapter
from conself_local.model_files.mlx_folder import MlxFolder

FUSED_FORMATS: Mapping[str, str] = {ORIGINAL: "", "BF16": "bfloat16", "F16": "float16"}
"""Weights format -> MLX's type of the fused weights; empty: the formats of the folder."""
_WRITTEN_ANEW = ("config.json", "model.safetensors.index.json")


def fuse_folder(model: MlxFolder, adapter: Path, target: Path, weights_format: str) -> None:
    """Fill the folder `target` with `model`, into which the mlx-lm folder `adapter` is merged.

    weights_format: a key of `FUSED_FORMATS`. Raises ConselfError if it is another one, if MLX is not installed, or if
    the adapter does not fit.
    """
    verify_mlx()
    verify_mlx_adapter(adapter, model)
    if weights_format not in FUSED_FORMATS:
        raise ConselfError(
            f"a folder of MLX weights cannot be written in the format {weights_format}",
            f"use --number-format {', '.join(FUSED_FORMATS)}",
        )
    arguments = [str(model.path), str(adapter), str(target), FUSED_FORMATS[weights_format]]
    command = [sys.executable, "-m", "conself_local.adapters.fuse", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=child_environment())
    if done.returncode != 0:
        raise ConselfError(
            f"the adapter could not be merged into {model.name}: {done.stderr.strip()[-300:]}",
            f"free some memory, and some disk space in {target.parent}",
        )
    for name in model.files:
        if not name.endswith(".safetensors") and name not in _WRITTEN_ANEW:
            shutil.copyfile(model.path / name, target / name)


def _fuse(source: str, adapter: str, target: str, dtype: str) -> None:
    """Write weights and configuration of the merged model."""
    import mlx.core as mx
    from mlx.utils import tree_unflatten
    from mlx_lm.tuner.utils import load_adapters
    from mlx_lm.utils import dequantize_model, load_model, save_config, save_model

    loaded: Any = load_model(Path(source))
    model, config = loaded
    model = load_adapters(model, adapter)
    fused = [(name, part.fuse(dequantize=bool(dtype))) for name, part in model.named_modules() if hasattr(part, "fuse")]
    model.update_modules(tree_unflatten(fused))
    if dtype:
        model = dequantize_model(model)
        model.set_dtype(getattr(mx, dtype))
        for key in ("quantization", "quantization_config"):
            config.pop(key, None)
    save_model(target, model)
    save_config(config, Path(target) / "config.json")


if __name__ == "__main__":
    _fuse(*sys.argv[1:5])
