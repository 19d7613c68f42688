"""Load the original GGUF file as a torch model with LoRA layers, and compute log-probabilities of completions.

The base model has the dequantised values of the original file, dense or in quantised blocks (`packed_linear.py`). It
computes in BF16 if the device supports it (`devices.py`), else in float32; LoRA weights are float32. Nothing is
downloaded.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.tuners_utils import BaseTunerLayer
from transformers import AutoConfig, AutoModelForCausalLM

from conself_local.errors import ConselfError
from conself_local.foreign_files import refusing
from conself_local.model_files.gguf_weights import GgufTensor, GgufWeights, read_weights
from conself_local.model_files.model_file import ModelFile
from conself_local.model_files.rope import Rope
from conself_local.training.packing import Group, Packed, pack
from conself_local.training.torch_backend import packed_attention
from conself_local.training.torch_backend.frozen_head import head_logps
from conself_local.training.torch_backend.lean_layers import use_lean_layers
from conself_local.training.torch_backend.packed_linear import PackedEmbedding, PackedHead, PackedLinear
from conself_local.training.torch_backend.packed_rows import PackedRows

_EMBEDDING, _HEAD = "model.embed_tokens.weight", "lm_head.weight"


def load_base(
    model: ModelFile,
    dtype: torch.dtype,
    device: torch.device,
    context_tokens: int = 0,
    *,
    as_card: bool | None = None,
) -> Any:
    """Return a frozen causal language model with the file's dequantised values.

    The linear maps of the layers remain in the file's blocks (`packed_linear.keep_dense` unpacks them permanently);
    norms are dense. On the processor, embeddings and output head are dense too. context_tokens: the context that the
    engine is started with. as_card: whether to compute as on a graphics card: embeddings and head in blocks, torch
    operations unpack, torch's own attention (default: whether `device` is not the processor).
    Raises ConselfError if the architecture or a tensor is not supported, or if a tensor is missing, unexpected or of
    another shape.
    """
    weights = read_weights(model, context_tokens)
    with refusing(f"{model.path.name} cannot be loaded for training", "the file may be damaged; get it again"):
        try:
            return _build(model, weights, dtype, device, device.type != "cpu" if as_card is None else as_card)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:  # what torch raises about sizes that cannot be
            raise ValueError(str(error)) from error


def _build(model: ModelFile, weights: GgufWeights, dtype: torch.dtype, device: torch.device, as_card: bool) -> Any:
    config = AutoConfig.for_model(**weights.config)
    for name in [name for name in vars(config) if name.endswith(("dropout", "pdrop"))]:
        setattr(config, name, 0.0)  # some families drop values by default
    with torch.device("meta"):
        base = AutoModelForCausalLM.from_config(config, dtype=dtype, attn_implementation="eager")
    if weights.family.packed_attention:
        base.set_attn_implementation("sdpa" if as_card else packed_attention.NAME)
    base.model.rotary_emb = _rotary(type(base.model.rotary_emb), config, weights.ropes)
    tensors = {tensor.model_name: tensor for tensor in weights.tensors}
    for name, tensor in tensors.items():
        map_name = name.rpartition(".")[0]
        if tensor.is_linear:
            rows = PackedRows(tensor, dtype, as_card)
            _put(base, map_name, PackedLinear(rows, _bias(tensors, name, dtype), dtype).to(device))
        elif as_card and name in (_EMBEDDING, _HEAD):
            continue
        elif not (name.endswith(".bias") and _is_linear(tensors.get(f"{map_name}.weight"))):
            _put(base, name, torch.nn.Parameter(torch.from_numpy(tensor.dense()).to(dtype), requires_grad=False))
    if as_card:
        _pack_vocabulary(base, tensors, dtype, device)
    elif config.tie_word_embeddings:
        base.lm_head.weight = base.model.embed_tokens.weight
    _compute_buffers(base)
    missing = [name for name, value in [*base.named_parameters(), *base.named_buffers()] if value.is_meta]
    if missing:
        raise ConselfError(f"{model.path.name} lacks the tensor {missing[0]}", "the file is damaged; get it again")
    if weights.family.lean:
        use_lean_layers(base)
    return base.to(device).requires_grad_(False)


def _is_linear(tensor: GgufTensor | None) -> bool:
    return tensor is not None and tensor.is_linear


def _rotary(kind: Any, config: Any, ropes: Mapping[str, Rope]) -> Any:
    """Return the module that computes positions, with llama.cpp's frequencies instead of those of transformers."""
    rotary = kind(config=config)
    for name, buffer in list(rotary.named_buffers()):
        if not name.endswith("inv_freq") or "original" in name:
            continue
        layers = "sliding_attention" if name.startswith("sliding") else "full_attention"
        rope = ropes[layers]
        if tuple(buffer.shape) != rope.inverse_frequencies.shape:
            raise ConselfError(
                f"the model has {buffer.numel()} frequencies, and its file {rope.inverse_frequencies.size}",
                "this model can be sampled, but not trained",
            )
        setattr(rotary, name, torch.from_numpy(rope.inverse_frequencies))
        setattr(rotary, name.replace("inv_freq", "attention_scaling"), rope.scale)
    return rotary


def _pack_vocabulary(base: Any, tensors: Mapping[str, GgufTensor], dtype: torch.dtype, device: torch.device) -> None:
    """Put embedding and output head into the model, in the blocks of the file; a tied head shares those of the rows."""
    rows = PackedRows(tensors[_EMBEDDING], dtype, as_card=True).to(device)
    head = PackedRows(tensors[_HEAD], dtype, as_card=True).to(device) if _HEAD in tensors else rows
    for name, packed in (("embed_tokens", rows), ("lm_head", head)):
        expected = tuple((base.model if name == "embed_tokens" else base).get_submodule(name).weight.shape)
        if (packed.rows, packed.columns) != expected:
            raise ConselfError(
                f"the file's tensor of {name} has an unexpected shape", "the file is damaged; get it again"
            )
    base.model.embed_tokens = PackedEmbedding(rows, dtype, _embedding_scale(base))
    base.lm_head = PackedHead(head, None, dtype)


def _embedding_scale(base: Any) -> float | None:
    """Return Gemma's factor of the embeddings; None for other families."""
    embedding = base.model.embed_tokens
    if not hasattr(embedding, "embed_scale"):
        return None
    return float(getattr(embedding, "scalar_embed_scale", base.config.hidden_size**0.5))


def _compute_buffers(base: Any) -> None:
    """Compute the buffers that are no tensors of the file: Gemma's factor of the embeddings."""
    scale = _embedding_scale(base)
    if scale is not None:
        base.model.embed_tokens.embed_scale = torch.tensor(scale)


def _bias(tensors: dict[str, GgufTensor], name: str, dtype: torch.dtype) -> torch.Tensor | None:
    tensor = tensors.get(name.removesuffix("weight") + "bias")
    return None if tensor is None else torch.from_numpy(tensor.dense()).to(dtype)


def _put(base: Any, name: str, value: Any) -> None:
    """Set a parameter or module by name; raise ConselfError if the model lacks the name or has another shape there."""
    parent_name, _, leaf = name.rpartition(".")
    try:
        parent = base.get_submodule(parent_name)
        old = getattr(parent, leaf)
    except AttributeError as error:
        raise ConselfError(
            f"the file's tensor {name} has no place in the model", "the file is damaged; get it again"
        ) from error
    if _shape(old) != _shape(value):
        raise ConselfError(f"the file's tensor {name} has an unexpected shape", "the file is damaged; get it again")
    setattr(parent, leaf, value)


def _shape(value: Any) -> tuple[int, ...] | None:
    if isinstance(value, torch.nn.Linear):
        return (value.out_features, value.in_features, value.bias is not None)
    return None if value is None else tuple(value.shape)


def add_lora(model: Any, rank: int, alpha: int, seed: int) -> Any:
    """Add a new adapter to all linear maps of the layers: A random from `seed`, B zero, no dropout."""
    torch.manual_seed(seed)
    maps = {
        name.rpartition(".")[2]
        for name, module in model.named_modules()
        if isinstance(module, PackedLinear) and not isinstance(module, PackedHead)
    }
    config = LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=0.0, target_modules=sorted(maps), task_type="CAUSAL_LM")
    return _cast_by_autocast(get_peft_model(model, config))


def load_lora(model: Any, folder: Path) -> Any:
    """Add the adapter of a PEFT folder to the model, to be trained further."""
    return _cast_by_autocast(PeftModel.from_pretrained(model, str(folder), is_trainable=True))


def _cast_by_autocast(model: Any) -> Any:
    """Let autocast cast the inputs of LoRA layers: peft would copy each to float32, and autocast would cast it back."""
    for module in model.modules():
        if isinstance(module, BaseTunerLayer):
            module.cast_input_dtype_enabled = False
    return model


def token_logps(model: Any, packed: Packed) -> torch.Tensor:
    """Return the log-probability (nats, temperature 1) of every completion token: (N,) float32, aligned with `targets`.

    Logits are computed only for positions that predict a completion token, some at a time; the softmax is in float32.
    """
    base = model.get_base_model() if isinstance(model, PeftModel) else model
    if not shares_prompts(base):
        return torch.cat([_token_logps(base, alone) for alone in packed.completions_alone()])
    return _token_logps(base, packed)


def shares_prompts(base: Any) -> bool:
    """Return whether completions can share a prompt in one sequence: not if a layer keeps a state."""
    return "linear_attention" not in (getattr(base.config, "layer_types", None) or ())


def _token_logps(base: Any, packed: Packed) -> torch.Tensor:
    weight = base.lm_head.weight
    device = weight.device

    def tensor(values: Any) -> torch.Tensor:
        return torch.from_numpy(values).to(device)

    masks = _masks(base.config, packed, weight)
    precision = (
        torch.autocast(device.type, weight.dtype) if weight.dtype == torch.bfloat16 else contextlib.nullcontext()
    )
    with precision:
        hidden = base.model(
            input_ids=tensor(packed.token_ids)[None],
            position_ids=tensor(packed.positions)[None],
            attention_mask=masks,
            use_cache=False,
        ).last_hidden_state[0]
    rows = hidden[tensor(packed.rows)].to(weight.dtype)
    divisor = float(getattr(base.config, "logits_scaling", None) or 1.0)
    cap = getattr(base.config, "final_logit_softcapping", None)
    return head_logps(rows / divisor, base.lm_head, tensor(packed.targets), cap)


def _masks(config: Any, packed: Packed, weight: torch.Tensor) -> Any:
    """Return what is added to the scores of attention, (1, 1, T, T): 0 where a token is visible, else very low.

    For a model whose layers differ, there is one mask per kind of layer; sliding ones see the last tokens only.
    """
    visible = torch.from_numpy(packed.attention_mask()).to(weight.device)

    def added(seen: torch.Tensor) -> torch.Tensor:
        mask = torch.zeros(seen.shape, dtype=weight.dtype, device=weight.device)
        return mask.masked_fill_(~seen, torch.finfo(weight.dtype).min)[None, None]

    kinds = set(getattr(config, "layer_types", None) or ())
    if kinds <= {"full_attention"}:
        return added(visible)
    if "linear_attention" in kinds:
        return {"full_attention": added(visible), "linear_attention": None}
    positions = torch.from_numpy(packed.positions).to(weight.device)
    near = visible & (positions[:, None] - positions[None, :] < config.sliding_window)
    return {"full_attention": added(visible), "sliding_attention": added(near)}


def sum_completion_logps(logps: torch.Tensor, packed: Packed) -> torch.Tensor:
    """Return (C,) log-probabilities of completions: the sums of those of their tokens, (N,)."""
    owner = torch.from_numpy(packed.owner).to(logps.device)
    return torch.zeros(len(packed.lengths), device=logps.device).index_add(0, owner, logps)


def completion_logps(model: Any, prompt: Sequence[int], completions: Sequence[Sequence[int]]) -> list[torch.Tensor]:
    """Return the log-probabilities (nats) of each completion's tokens after the shared prompt: [(T_i,), ...]."""
    packed = pack([Group(prompt, completions)])
    return list(torch.split(token_logps(model, packed), packed.lengths.tolist()))
