"""Define what a round needs to know of a model, whatever its weights are stored in, and open one by its path.

There are two kinds: a GGUF file (`ModelFile`), and a folder of MLX weights (`MlxFolder`). What can be done with a kind
is decided where it is done: sampling in `sampling/open_engine.py`, training in `training/trainer.py`, export in
`adapters/export.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Protocol

from conself_local.errors import ConselfError
from conself_local.hashes import file_sha256
from conself_local.model_files.mlx_adapter import mlx_adapter_sha256, verify_mlx_adapter
from conself_local.model_files.mlx_folder import MlxFolder, load_mlx_folder
from conself_local.model_files.model_file import ModelFile, load_model_file, verify_adapter_file

AdapterForm = Literal["gguf", "mlx"]
"""`gguf`: a GGUF LoRA file; `mlx`: a folder with `adapters.safetensors` and `adapter_config.json`."""
ADAPTER_PATHS: Mapping[str, str] = {"gguf": "adapter.gguf", "mlx": "mlx"}
"""Form of an adapter -> what its engine loads, below the adapter's folder."""


class Model(Protocol):
    """The metadata of a chat model; the weights are not loaded."""

    @property
    def path(self) -> Path:
        """The file, the first of several files, or the folder."""

    @property
    def name(self) -> str:
        """Its name, for people."""

    @property
    def architecture(self) -> str:
        """Its architecture, as the file or the folder calls it."""

    @property
    def sha256(self) -> str:
        """Hash of all its files, 64 hex digits."""

    @property
    def chat_template(self) -> str:
        """The Jinja template of its prompts."""

    @property
    def template_hash(self) -> str:
        """First 32 hex digits of the sha256 of the chat template."""

    @property
    def special_tokens(self) -> Mapping[str, str]:
        """Name in the chat template -> text of the token."""

    @property
    def context_length(self) -> int:
        """Longest context in tokens."""

    @property
    def size_bytes(self) -> int:
        """Size of its weights."""

    @property
    def weights(self) -> int:
        """Number of values in all tensors together."""

    @property
    def formats(self) -> tuple[tuple[str, int], ...]:
        """(name of a number format, number of tensors) pairs, the most frequent first."""

    @property
    def parts(self) -> tuple[Path, ...]:
        """The files that hold the weights."""

    @property
    def licence(self) -> str:
        """Its licence; empty if none is stated."""

    @property
    def block_count(self) -> int:
        """Number of layers."""

    @property
    def embedding_length(self) -> int:
        """Width of the layers."""

    @property
    def vocabulary(self) -> int:
        """Number of tokens; 0 if it is not known."""

    @property
    def kv_bytes_per_token(self) -> int:
        """Bytes of 16-bit keys and values per token, all layers together."""

    @property
    def state_bytes(self) -> int:
        """Bytes of recurrent state per slot, at most."""


def open_model(path: Path) -> ModelFile | MlxFolder:
    """Read and check the metadata of a model: of a folder of MLX weights, or of a GGUF file.

    Raises ConselfError if it is missing, damaged, incomplete, or no chat model.
    """
    try:
        is_folder = path.is_dir()
    except OSError:
        is_folder = False  # the reader of files says why it cannot be read
    return load_mlx_folder(path) if is_folder else load_model_file(path)


def adapter_form(model: Model) -> AdapterForm:
    """Return in which form the engine of a model loads adapters."""
    return "mlx" if isinstance(model, MlxFolder) else "gguf"


def verify_adapter_of(path: Path, model: Model) -> None:
    """Check an adapter before an engine loads it. Raises ConselfError if it does not fit the model."""
    if isinstance(model, MlxFolder):
        verify_mlx_adapter(path, model)
    else:
        verify_adapter_file(path, gguf_model(model, "an adapter of a GGUF file"))


def adapter_sha256(path: Path) -> str:
    """Return the hash of an adapter: of the GGUF file, or of the two files of an mlx-lm folder. Raises OSError."""
    return mlx_adapter_sha256(path) if path.is_dir() else file_sha256(path)


def has_sha256(path: Path, sha256: str) -> bool:
    """Return whether an adapter is there and has this hash."""
    try:
        return adapter_sha256(path) == sha256
    except OSError:
        return False


def gguf_model(model: Model, what: str) -> ModelFile:
    """Return the model as a GGUF file. Raises ConselfError, which says `what` needs one, if it is another kind."""
    if not isinstance(model, ModelFile):
        raise ConselfError(f"{what} needs a GGUF file, and {model.name} is a folder", "give a GGUF file of the model")
    return model
