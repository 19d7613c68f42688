"""Keep weights with an adapter merged into them in the cache, for engines that take no adapters of their own.

A file is named by the content of the model and of the adapter, so a merge is made once and never stale; `conself prune`
removes it with the other converted weights. Not covered: the merge itself (`merge.py`).
"""

from __future__ import annotations

from pathlib import Path

from conself_local.adapters.merge import merge_adapter
from conself_local.hashes import file_sha256
from conself_local.machine.room import verify_disk
from conself_local.model_files.converted_weights import converted_bytes, merged_path
from conself_local.model_files.model_file import ModelFile


def ensure_merged_weights(model: ModelFile, adapter: Path, weights_format: str, cache: Path) -> Path:
    """Return the GGUF file with the GGUF LoRA file `adapter` merged into the weights; it is made if it is missing.

    Raises ConselfError if the disk is too small, the adapter does not fit the model, or a format cannot be written.
    """
    target = merged_path(model, file_sha256(adapter), weights_format, cache)
    if not target.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        verify_disk(cache, "a copy of the weights with the adapter", converted_bytes(model, weights_format))
        merge_adapter(model, adapter, target, weights_format, cache)
    return target
