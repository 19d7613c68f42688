"""Find the adapter of a model, and refuse a model file that has changed since an adapter or a round began with it.

An adapter fits only the weights that it was trained on, so a file that was replaced under the same path is another
model. Every comparison of a model's hash with a stored one is made here and gives the same message.
Not covered: adapters' own files (`Store.adapter_file`).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from conself_local.errors import ConselfError
from conself_local.model_files.model import Model, open_model
from conself_local.store.store import Row, Store

_NEW_LINE = "start a new line of adapters on the new file (conself run --from-base), or use it under another name"


def verify_unchanged(path: Path, sha256: str, stored: str | None, since: str, instead: str = _NEW_LINE) -> None:
    """Raise ConselfError if the model file at `path` is not the one whose hash was stored.

    sha256: its hash now; stored: None if it is not known. The message says since when the file has changed, and the
    hint to restore the old file or do `instead`.
    """
    if stored not in (None, sha256):
        raise ConselfError(f"{path} has changed since {since}", f"restore the old file; or {instead}")


def verify_model_of(adapter: Row, model: Model) -> None:
    """Raise ConselfError if an adapter, a row of the store, was made for another model or for what the file was."""
    if adapter["model_path"] == str(model.path):
        verify_unchanged(model.path, model.sha256, adapter["model_sha256"], _made(adapter))
    elif adapter["model_sha256"] not in (None, model.sha256):
        raise ConselfError(
            f"adapter {adapter['id']} ({adapter['name']}) was made for {adapter['model_path']}, and {model.path} is "
            "another model",
            f"give the model that it was made for: --model {adapter['model_path']}",
        )


def accepted_adapter(store: Store, model: Model) -> int | None:
    """Return the latest accepted adapter for the model, or None if there is none.

    Raises ConselfError if the model's file has changed since its latest accepted adapter was made, and no round and no
    adapter has begun with the new file yet.
    """
    latest = store.latest_accepted(model.sha256)
    if latest is None and not store.knows_model(model.sha256):
        for adapter in store.accepted_adapters(str(model.path)):
            verify_model_of(adapter, model)
    return latest


def changed_models(store: Store) -> Iterator[ConselfError]:
    """Yield an error for each model file that has changed since its latest accepted adapter was made.

    A file that is missing is passed over: a home may be looked at on another computer.
    """
    for path in store.model_paths():
        if Path(path).exists():
            try:
                accepted_adapter(store, open_model(Path(path)))
            except ConselfError as error:
                yield error


def _made(adapter: Row) -> str:
    return f"adapter {adapter['id']} ({adapter['name']}) was made for it"
