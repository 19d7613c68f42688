"""Import an adapter from elsewhere into this home.

It is checked against the model and stored in the forms that a round needs: as a PEFT folder, and as a GGUF LoRA file
or, for a folder of MLX weights, as an mlx-lm folder.
Not covered: how well the adapter works.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from conself_local.adapters.formats import read_adapter, write_peft
from conself_local.adapters.native import native_path, write_native
from conself_local.errors import ConselfError
from conself_local.home import Home
from conself_local.model_files.model import Model, adapter_form, adapter_sha256
from conself_local.new_files import whole_folder
from conself_local.store.store import IMPORTED, Store

_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,63}")


def import_adapter(store: Store, home: Home, path: Path, model: Model, name: str, *, use: bool) -> int:
    """Store the adapter under `name` and return its id.

    path: a GGUF LoRA file, a PEFT folder or an mlx-lm folder. use: accept it, so that the next round on `model` starts
    from it; otherwise it is a candidate. Raises ConselfError if the name is invalid or taken, if the data are neither
    safetensors nor GGUF, or if the adapter does not fit the model; then nothing is stored.
    """
    folder = new_adapter_folder(store, home, name)
    if not path.exists():
        raise ConselfError(f"there is no adapter at {path}", "give a GGUF LoRA file, a PEFT folder or an mlx-lm folder")
    adapter = read_adapter(path, model)
    shutil.rmtree(folder, ignore_errors=True)
    with whole_folder(folder) as part:
        write_peft(adapter, part / "peft", model.architecture)
        write_native(adapter, model, part)
    stored = native_path(model, folder)
    return store.insert_adapter(
        {
            "name": name,
            "round_id": IMPORTED,
            "parent_id": None,
            "peft_path": str(folder / "peft"),
            "path": str(stored),
            "sha256": adapter_sha256(stored),
            "form": adapter_form(model),
            "model_path": str(model.path),
            "model_sha256": model.sha256,
            "state": "accepted" if use else "candidate",
        }
    )


def new_adapter_folder(store: Store, home: Home, name: str) -> Path:
    """Return the folder for a new adapter. Raises ConselfError if the name is invalid or taken, or its folder is."""
    if not _NAME.fullmatch(name):
        raise ConselfError(
            f"{name!r} cannot be the name of an adapter", "use letters, digits, `.`, `_` and `-`: --name NAME"
        )
    if store.value("select id from adapters where name = ?", name):
        raise ConselfError(f"an adapter named {name} already exists", "give another --name")
    folder = home.adapter_folder(name)
    if any(Path(row["path"]).parent == folder for row in store.rows("select path from adapters")):
        raise ConselfError(f"{folder} holds an adapter that was renamed", "give another --name")
    return folder
