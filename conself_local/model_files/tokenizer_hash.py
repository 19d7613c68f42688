"""Name a tokenizer by a hash, so that token ids are only used with the tokenizer that made them.

Two quantisations of one model have the same hash. Not covered: the chat template, which is part of no token.
"""

from __future__ import annotations

import hashlib

from conself_local.hashes import file_sha256
from conself_local.model_files.gguf_file import open_gguf
from conself_local.model_files.mlx_folder import MlxFolder
from conself_local.model_files.model import Model

_PREFIX = "tokenizer.ggml."


def tokenizer_hash(model: Model) -> str:
    """Return a hash (32 hex digits) of all that the model says about its tokenizer: tokens, merges, special tokens.

    For a folder of MLX weights, that is the file `tokenizer.json`.
    """
    if isinstance(model, MlxFolder):
        return file_sha256(model.path / "tokenizer.json")[:32]
    fields = open_gguf(model.path).fields
    digest = hashlib.sha256(b"tokenizer\0")
    for key in sorted(key for key in fields if key.startswith(_PREFIX)):
        field = fields[key]
        kinds = ",".join(kind.name for kind in field.types)
        digest.update(f"{key}\0{kinds}\0{len(field.data)}\0".encode())
        for index in field.data:
            value = bytes(field.parts[index])
            digest.update(len(value).to_bytes(8, "little") + value)
    return digest.hexdigest()[:32]
