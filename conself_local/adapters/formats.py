"""Read, check and write LoRA adapters as a PEFT folder, a GGUF LoRA file for llama.cpp, or an mlx-lm folder.

An adapter from elsewhere is untrusted input: only safetensors and GGUF are read (no pickle, no code that a
configuration names), and every tensor must hold finite numbers in the shape that the model has at that place. Where
GGUF has rows or columns in another order (`families.py`), those of B or A are moved too.
Not covered: variants such as DoRA, rank patterns, biases and weights that PiSSA or LoftQ changed, and architectures
that are not listed. They are refused by name.
Source: llama.cpp, convert_lora_to_gguf.py; mlx-lm, tuner/lora.py; peft, save_and_load.py; read and restated.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import save_file

from conself_local.errors import ConselfError
from conself_local.foreign_files import read_json, refusing
from conself_local.model_files.family import Order
from conself_local.model_files.ggml import Floats
from conself_local.model_files.gguf_file import open_gguf
from conself_local.model_files.gguf_weights import linear_shapes as gguf_shapes
from conself_local.model_files.gguf_weights import linear_tensors
from conself_local.model_files.mlx_folder import MlxFolder
from conself_local.model_files.model import Model, gguf_model
from conself_local.model_files.model_file import ModelFile, verify_adapter_file
from conself_local.model_files.safetensors_file import read_header, read_tensor

_PEFT_KEY = re.compile(r"base_model\.model\.(model\.layers\.\d+\.\w+\.\w+)\.lora_(A|B)\.weight")
_MLX_KEY = re.compile(r"(model\.layers\.\d+\.\w+\.\w+)\.lora_(a|b)")
_GGUF_KEY = re.compile(r"(.+\.weight)\.lora_(a|b)")
_MAX_CONFIG_BYTES = 2**20
_MAX_TENSORS = 2**14
_LARGEST_CHANGE = 65504.0
"""Largest value of a 16-bit float, in which many tools compute."""
_WRONG_MODEL_HINT = "give an adapter that was trained on this model"
_DAMAGED_HINT = "the adapter is damaged; get it again"
_NOT_IN_LAYERS = re.compile(r"lm_head|embed_tokens|embedding|token_embd|^output|modules_to_save|(^|\.)norm\.")
_PLAIN_FIELDS = {
    "alpha_pattern", "auto_mapping", "base_model_name_or_path", "bias", "ensure_weight_tying", "eva_config",
    "exclude_modules", "inference_mode", "init_lora_weights", "layers_pattern", "layers_to_transform", "lora_alpha",
    "lora_dropout", "megatron_core", "peft_type", "peft_version", "qalora_group_size", "r", "rank_pattern", "revision",
    "runtime_config", "target_modules", "task_type", "use_rslora",
}  # fmt: skip
"""Fields of a PEFT configuration that may have any value here, or that `read_peft` and `_unsupported` look at."""
_PLAIN_STARTS = (True, False, None, "gaussian", "eva", "orthogonal")
"""Values of `init_lora_weights` that leave the weights of the model as they are."""


@dataclass(frozen=True)
class Adapter:
    """LoRA weights: W + scale * B @ A for every linear map that `maps` names."""

    scale: float
    """alpha / rank, the factor of B @ A."""
    maps: Mapping[str, tuple[Floats, Floats]]
    """`model.layers.0.self_attn.q_proj` -> (A (rank, in), B (out, rank)), rows in the order of the torch model."""

    @property
    def rank(self) -> int:
        """Rank of the first linear map; at least one must exist. `verify_adapter` checks that all maps share it."""
        return next(iter(self.maps.values()))[0].shape[0]


def linear_shapes(model: Model) -> Mapping[str, tuple[int, int]]:
    """Return the shape of every linear map of the layers, (rows, columns).

    Raises ConselfError if the architecture of a GGUF file is not known.
    """
    return model.stored.linears if isinstance(model, MlxFolder) else gguf_shapes(gguf_model(model, "an adapter"))


def verify_adapter(adapter: Adapter, model: Model) -> None:
    """Check that every map exists in the model, has its shape and is finite. Raises ConselfError if not."""
    shapes = linear_shapes(model)
    if not adapter.maps:
        raise ConselfError("the adapter contains no LoRA tensors", _WRONG_MODEL_HINT)
    for name, (a, b) in adapter.maps.items():
        if name not in shapes:
            raise ConselfError(f"the adapter trains {name}, which {model.name} does not have", _WRONG_MODEL_HINT)
        expected = ((adapter.rank, shapes[name][1]), (shapes[name][0], adapter.rank))
        if (a.shape, b.shape) != expected:
            raise ConselfError(
                f"the adapter's {name} has the shapes {a.shape} and {b.shape}, but the model needs {expected}",
                _WRONG_MODEL_HINT,
            )
        if not (np.isfinite(a).all() and np.isfinite(b).all()):
            raise ConselfError(f"the adapter's {name} contains values that are not finite", _DAMAGED_HINT)
        change = abs(adapter.scale) * adapter.rank * float(np.abs(a).max()) * float(np.abs(b).max())
        if not change <= _LARGEST_CHANGE:
            raise ConselfError(f"the adapter's {name} changes weights by more than a number can hold", _DAMAGED_HINT)


def read_adapter(path: Path, model: Model) -> Adapter:
    """Return the adapter of a GGUF file, a PEFT folder or an mlx-lm folder, verified against the model.

    Raises ConselfError if the form is not supported, the data are damaged, or the adapter does not fit the model.
    """
    if not path.is_dir():
        adapter = read_gguf(path, gguf_model(model, "a GGUF adapter"))
    elif (path / "adapters.safetensors").is_file():
        adapter = read_mlx(path, model)
    else:
        adapter = read_peft(path, model)
    verify_adapter(adapter, model)
    return adapter


# -- PEFT ---------------------------------------------------------------------------------------------------


def read_peft(folder: Path, model: Model | None = None) -> Adapter:
    """Return the adapter of a PEFT folder, not yet verified against a model.

    model: a file that holds more than an adapter of its rank for this model is refused before it is read.
    Raises ConselfError if the folder is damaged, is not LoRA, or uses a variant that is not supported.
    """
    path = folder / "adapter_config.json"
    config = read_json(path, _MAX_CONFIG_BYTES, "give a PEFT or mlx-lm folder, or a GGUF LoRA file")
    if config.get("peft_type") != "LORA":
        raise ConselfError(
            f"{folder} is not a LoRA adapter (peft_type {config.get('peft_type')!r})", "give a LoRA adapter"
        )
    if unsupported := _unsupported(config):
        raise ConselfError(
            f"{folder} uses {', '.join(unsupported)}, which is not supported", "give a plain LoRA adapter"
        )
    with refusing(f"{folder} does not state a usable rank and alpha", _DAMAGED_HINT):
        rank, alpha = _rank(config.get("r")), _number(config.get("lora_alpha"))
        scale = alpha / (rank**0.5 if config.get("use_rslora") else rank)
    tensors = _read_safetensors(folder / "adapter_model.safetensors", _PEFT_KEY, rank, model)
    return _of_rank(rank, adapter_of_peft_tensors(tensors, scale))


def _unsupported(config: Mapping[str, Any]) -> list[str]:
    """Return the fields of a PEFT configuration that change the computation in a way that is not supported."""
    found = [key for key, value in config.items() if value and key not in _PLAIN_FIELDS]
    found += [key for key in ("rank_pattern", "alpha_pattern") if config.get(key)]
    if config.get("bias", "none") != "none":
        found.append("bias")
    if config.get("task_type") not in (None, "CAUSAL_LM"):
        found.append(f"task_type {config['task_type']}")
    start = config.get("init_lora_weights", True)
    if not any(start is plain or (start == plain and isinstance(start, str)) for plain in _PLAIN_STARTS):
        found.append(f"init_lora_weights {start} (it changes the weights of the model)")
    return sorted(str(name)[:100] for name in found)


def adapter_of_peft_tensors(tensors: Mapping[str, Floats], scale: float) -> Adapter:
    """Return the adapter of tensors under PEFT's names, as `base_model.model.model.layers.0.mlp.up_proj.lora_A.weight`.

    A: (rank, in), B: (out, rank). Raises ConselfError for an unknown name, for a tensor that is not a matrix, and if A
    or B of a linear map is missing.
    """
    return Adapter(scale, _pair_up(tensors, lambda key: _match(_PEFT_KEY, key)))


def write_peft(adapter: Adapter, folder: Path, architecture: str) -> None:
    """Write `adapter_model.safetensors` and `adapter_config.json` to `folder`, which is created if it does not exist.

    architecture: stored as the name of the base model.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {}
    for name, (a, b) in adapter.maps.items():
        tensors[f"base_model.model.{name}.lora_A.weight"], tensors[f"base_model.model.{name}.lora_B.weight"] = a, b
    _save_tensors(tensors, folder / "adapter_model.safetensors", {"format": "pt"})
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "r": adapter.rank,
        "lora_alpha": _int_if_whole(adapter.scale * adapter.rank),
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": sorted({name.rpartition(".")[2] for name in adapter.maps}),
        "base_model_name_or_path": architecture,
        "inference_mode": True,
    }
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")


# -- mlx-lm -------------------------------------------------------------------------------------------------


def read_mlx(folder: Path, model: Model | None = None) -> Adapter:
    """Return the adapter of an mlx-lm folder, not yet verified against a model; `model` as in `read_peft`.

    Raises ConselfError if the folder is damaged or is not plain LoRA.
    """
    path = folder / "adapter_config.json"
    config = read_json(path, _MAX_CONFIG_BYTES, "give a PEFT or mlx-lm folder, or a GGUF LoRA file")
    with refusing(f"{folder} is not a plain LoRA adapter of mlx-lm", "give a LoRA adapter"):
        parameters = config.get("lora_parameters")
        if config.get("fine_tune_type", "lora") != "lora" or not isinstance(parameters, dict):
            raise ValueError(f"fine_tune_type {config.get('fine_tune_type')!r}")
        scale, rank = _number(parameters.get("scale")), _rank(parameters.get("rank"))
    tensors = _read_safetensors(folder / "adapters.safetensors", _MLX_KEY, rank, model)
    return _of_rank(rank, adapter_of_mlx_tensors(tensors, scale))


def adapter_of_mlx_tensors(tensors: Mapping[str, Floats], scale: float) -> Adapter:
    """Return the adapter of tensors under mlx-lm's names, as `model.layers.0.self_attn.q_proj.lora_a`.

    mlx-lm stores both transposed, lora_a as (in, rank) and lora_b as (rank, out). Raises ConselfError as
    `adapter_of_peft_tensors` does.
    """
    transposed = {key: np.ascontiguousarray(value.T) for key, value in tensors.items()}
    return Adapter(scale, _pair_up(transposed, lambda key: _match(_MLX_KEY, key)))


def write_mlx(adapter: Adapter, folder: Path, layers: int) -> None:
    """Write `adapters.safetensors` and `adapter_config.json` to `folder`, which is created if it does not exist.

    layers: the number of layers of the model.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {}
    for name, (a, b) in adapter.maps.items():
        tensors[f"{name}.lora_a"], tensors[f"{name}.lora_b"] = np.ascontiguousarray(a.T), np.ascontiguousarray(b.T)
    _save_tensors(tensors, folder / "adapters.safetensors", {"format": "mlx"})
    keys = sorted({".".join(name.split(".")[3:]) for name in adapter.maps})
    parameters = {"rank": adapter.rank, "scale": adapter.scale, "dropout": 0.0, "keys": keys}
    config = {"fine_tune_type": "lora", "num_layers": layers, "lora_parameters": parameters}
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")


def _save_tensors(tensors: dict[str, Floats], path: Path, metadata: dict[str, str]) -> None:
    """Write a safetensors file. Raises OSError if it cannot be written, as other writers do."""
    try:
        save_file(tensors, path, metadata=metadata)
    except SafetensorError as error:  # its message holds that of the system
        raise OSError(None, str(error), str(path)) from error


# -- GGUF ---------------------------------------------------------------------------------------------------


def read_gguf(path: Path, model: ModelFile) -> Adapter:
    """Return the adapter of a GGUF LoRA file, its names and rows as in the torch model.

    model: the adapter must have its architecture; its head counts decide how the rows of Q and K are put back.
    Raises ConselfError if the file is damaged, is for another architecture, or changes anything but linear maps of
    layers.
    """
    in_file = read_gguf_maps(path, model)
    in_model = {tensor.name: (name, tensor) for name, tensor in linear_tensors(model).items()}
    maps: dict[str, tuple[Floats, Floats]] = {}
    for tensor_name, (a, b) in in_file.maps.items():
        if tensor_name not in in_model:
            raise _foreign_tensor(tensor_name)
        name, tensor = in_model[tensor_name]
        if (a.shape[1], b.shape[0]) != (tensor.columns, tensor.shape[0]):
            raise ConselfError(f"the adapter's {tensor_name} does not fit the model", _WRONG_MODEL_HINT)
        rows, columns = tensor.order.rows, tensor.order.columns
        maps[name] = (a if columns is None else a[:, columns], b if rows is None else b[rows])
    return Adapter(in_file.scale, maps)


def read_gguf_maps(path: Path, model: ModelFile) -> Adapter:
    """Return the adapter of a GGUF LoRA file under the file's names (`blk.0.attn_q.weight`), rows in the file's order.

    This is the form that is merged into a GGUF model. Raises ConselfError if the file is damaged or is for another
    architecture; shapes are not checked.
    """
    verify_adapter_file(path, model)
    with refusing(f"{path} is damaged or in an unknown format", "get the adapter again"):
        file = open_gguf(path, "adapter")
        alpha = _number(file.value("adapter.lora.alpha"))
        rank = min(map(int, file.tensors[0].shape))
        _verify_size(len(file.tensors), sum(int(t.n_elements) for t in file.tensors), rank, model)
        tensors = {t.name: gguf.quants.dequantize(t.data, t.tensor_type).astype(np.float32) for t in file.tensors}
        adapter = Adapter(1.0, _pair_up(tensors, lambda key: _match(_GGUF_KEY, key)))
        return Adapter(alpha / adapter.rank, adapter.maps)


def write_gguf(adapter: Adapter, model: ModelFile, target: Path, *, permute: bool = True) -> None:
    """Write the adapter as a GGUF LoRA file; `target` appears only when it is complete.

    permute: False leaves all rows and columns as they are in the model, so that a test can show that their order
    matters. Raises ConselfError for an architecture that is not known, or if the adapter is for another model.
    """
    tensors = linear_tensors(model)
    for name in adapter.maps:
        if name not in tensors:
            raise ConselfError(f"the adapter trains {name}, which {model.name} does not have", _WRONG_MODEL_HINT)
    places = {name: (tensor.name, tensor.order if permute else Order()) for name, tensor in tensors.items()}
    write_gguf_maps(model.architecture, adapter.scale * adapter.rank, file_maps(adapter, places), target)


def file_maps(adapter: Adapter, places: Mapping[str, tuple[str, Order]]) -> dict[str, tuple[Floats, Floats]]:
    """Return name in the file -> (A, B) in the order of the file.

    places: name of a linear map -> (its name in the file, where the file has its rows and columns).
    """
    return {places[name][0]: _in_file_order(*adapter.maps[name], places[name][1]) for name in sorted(adapter.maps)}


def write_gguf_maps(architecture: str, alpha: float, maps: Mapping[str, tuple[Floats, Floats]], target: Path) -> None:
    """Write a GGUF LoRA file whose maps have the names and the order of the file."""
    part = target.with_suffix(".part")
    writer = gguf.GGUFWriter(str(part), architecture)
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", float(alpha))
    for name, (a, b) in maps.items():
        writer.add_tensor(f"{name}.lora_a", a)
        writer.add_tensor(f"{name}.lora_b", b)
    try:
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        part.rename(target)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _in_file_order(a: Floats, b: Floats, order: Order) -> tuple[Floats, Floats]:
    """Return A and B with the columns and rows in the order in which the file has those of the tensor."""
    rows, columns = order.rows, order.columns
    if columns is not None:
        a = np.ascontiguousarray(a[:, np.argsort(columns)])
    if rows is not None:
        b = np.ascontiguousarray(b[np.argsort(rows)])
    return a, b


# -- shared by all forms ------------------------------------------------------------------------------------


def _int_if_whole(number: float) -> float | int:
    return int(number) if number == int(number) else number


def _match(pattern: re.Pattern[str], key: str) -> tuple[str, str] | None:
    found = pattern.fullmatch(key)
    return (found[1], found[2].lower()) if found else None


def _pair_up(
    tensors: Mapping[str, Floats], parse_key: Callable[[str], tuple[str, str] | None]
) -> dict[str, tuple[Floats, Floats]]:
    """Return name -> (A, B). parse_key: a tensor's key -> (name, `a` or `b`), or None if the key is unknown.

    Raises ConselfError for an unknown key, a tensor that is not a matrix, a missing half, and an empty adapter.
    """
    sides: dict[str, dict[str, Floats]] = {}
    for key, value in tensors.items():
        found = parse_key(key)
        if found is None or value.ndim != 2:
            raise _foreign_tensor(key)
        sides.setdefault(found[0], {})[found[1]] = value
    halves = [name for name, both in sides.items() if set(both) != {"a", "b"}]
    if halves or not sides:
        raise ConselfError(
            f"the adapter contains only half of {halves[0]}" if halves else "the adapter is empty", _WRONG_MODEL_HINT
        )
    return {name: (both["a"], both["b"]) for name, both in sides.items()}


def _foreign_tensor(name: str) -> ConselfError:
    """Return the error for a tensor that belongs to no linear map of a layer."""
    hint = _WRONG_MODEL_HINT
    if _NOT_IN_LAYERS.search(name):
        hint = "only linear maps inside layers can be changed; train it without embeddings, output head and norms"
    return ConselfError(f"the adapter contains {name}, which is not a LoRA tensor of a linear map of a layer", hint)


def _number(value: object) -> float:
    """Return a number of a configuration as a float. Raises ValueError or OverflowError if it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(float(value)):
        raise ValueError(f"{value!r:.50} is not a number")
    return float(value)


def _of_rank(rank: int, adapter: Adapter) -> Adapter:
    """Return the adapter. Raises ConselfError if its tensors have another rank than its configuration states."""
    if adapter.rank != rank:
        raise ConselfError(
            f"the adapter states rank {rank}, and its tensors have the shapes of {adapter.rank}", _DAMAGED_HINT
        )
    return adapter


def _rank(value: object) -> int:
    if type(value) is not int or not 1 <= value < 2**20:
        raise ValueError(f"{value!r:.50} is not a rank")
    return value


def _verify_size(tensors: int, values: int, rank: int, model: Model | None) -> None:
    """Raise ValueError if an adapter holds more than one of its rank for the model can hold."""
    if tensors > _MAX_TENSORS:
        raise ValueError(f"it holds {tensors} tensors")
    if model is None:
        return
    dimensions = sum(sum(shape) for shape in linear_shapes(model).values())
    if rank > model.embedding_length or values > rank * dimensions:
        raise ValueError(f"it is too large for an adapter of rank {rank} of {model.name}")


def _read_safetensors(path: Path, key: re.Pattern[str], rank: int, model: Model | None) -> dict[str, Floats]:
    """Return the tensors of a file as float32.

    key: the form of their names. Raises ConselfError for a damaged or large file, or one with other tensors.
    """
    if not path.exists():
        raise ConselfError(
            f"there is no {path.name} in {path.parent}; a .bin or .pt file could run code and is never read",
            "get the adapter as safetensors",
        )
    with refusing(f"{path} is damaged or in an unknown format", "get the adapter again"):
        stored = read_header(path)
        for name in stored:
            if not key.fullmatch(name):
                raise _foreign_tensor(name)
        _verify_size(len(stored), sum(math.prod(t.shape) for t in stored.values()), rank, model)
        return {name: read_tensor(path, tensor) for name, tensor in stored.items()}
