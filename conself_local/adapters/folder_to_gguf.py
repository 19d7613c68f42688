"""Write the adapter of a folder of MLX weights as a GGUF LoRA file, for llama.cpp with a GGUF of the same model.

The names of the tensors and the order of the rows of Q and K are those of the family (`model_files/families.py`).
Not covered: families that are not there, and making the GGUF of the model itself.
"""

from __future__ import annotations

from pathlib import Path

from conself_local.adapters.formats import Adapter, file_maps, write_gguf_maps
from conself_local.errors import ConselfError
from conself_local.model_files.families import FAMILIES
from conself_local.model_files.family import Family, Order
from conself_local.model_files.metadata import Metadata
from conself_local.model_files.mlx_folder import MlxFolder

_OTHER_NAMES = {"mistral": "llama"}
"""`model_type` of a folder -> architecture in GGUF, if no family of GGUF has that type."""


def write_gguf_of_folder(adapter: Adapter, model: MlxFolder, target: Path) -> None:
    """Write the GGUF LoRA file `target`. Raises ConselfError if the family has no known form in GGUF."""
    architecture, family = _family(model)
    heads = {
        "attention.head_count": model.head_count,
        "attention.head_count_kv": model.head_count_kv,
        "attention.key_length": model.head_size,
        "embedding_length": model.embedding_length,
    }
    values = {f"{architecture}.{key}": value for key, value in heads.items()}
    orders = family.orders(Metadata(architecture, values.get, model.name))
    in_file = {of_model: of_file for of_file, of_model in family.linears.items()}
    places: dict[str, tuple[str, Order]] = {}
    for name in adapter.maps:
        _, _, layer, part = name.split(".", 3)
        if part not in in_file:
            raise ConselfError(f"the adapter trains {name}, which has no name in GGUF", "export it as mlx or peft")
        places[name] = (f"blk.{layer}.{in_file[part]}.weight", orders.get(in_file[part], Order()))
    write_gguf_maps(architecture, adapter.scale * adapter.rank, file_maps(adapter, places), target)


def _family(model: MlxFolder) -> tuple[str, Family]:
    """Return the name in GGUF and the family of a folder. Raises ConselfError if there is none."""
    by_type = {family.model_type: name for name, family in FAMILIES.items()}
    architecture = _OTHER_NAMES.get(model.architecture) or by_type.get(model.architecture)
    if architecture is None:
        raise ConselfError(
            f"adapters of the architecture {model.architecture} cannot be written as GGUF", "export it as mlx or peft"
        )
    return architecture, FAMILIES[architecture]
