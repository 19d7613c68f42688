"""Load the original GGUF file as a torch model with LoRA layers, and compute log-probabilities of completions.

The base model has the dequantised values of the original file, dense or in quantised blocks (`packed_linear.py`). It
computes in BF16 if the CPU or GPU supports it, else in float32; LoRA weights are float32. Nothing is downloaded.
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
from conself_local.machine.processor import processor_has_bf16
from conself_local.model_files.gguf_weights import GgufTensor, read_weights
from conself_local.model_files.model_file import ModelFile
from conself_local.model_files.rope import Rope
from conself_local.training.packing import Group, Packed, pack
from conself_local.training.torch_backend import packed_attention
from conself_local.training.torch_backend.lean_layers import use_lean_layers
from conself_local.training.torch_backend.packed_linear import PackedLinear

_LOGIT_ROWS = 128
"""Number of rows of logits (V,) in memory at once."""


def pick_device() -> torch.device:
    """Return the CUDA device if there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def pick_dtype(device: torch.device) -> torch.dtype:
    """Return bfloat16 if the device computes it in hardware, else float32."""
    native = torch.cuda.is_bf16_supported() if device.type == "cuda" else processor_has_bf16()
    return torch.bfloat16 if native else torch.float32


def load_base(model: ModelFile, dtype: torch.dtype, device: torch.device, context_tokens: int = 0) -> Any:
    """Return a frozen causal language model with the file's dequantised values.

    The linear maps of the layers remain in the file's blocks (`packed_linear.keep_dense` unpacks them permanently);
    embeddings, norms and the output head are dense. context_tokens: the context that the engine is started with.
    Raises ConselfError if the architecture or a tensor is not supported, or if a tensor is missing, unexpected or of
    another shape.
    """
    weights = read_weights(model, context_tokens)
    config = AutoConfig.for_model(**weights.config)
    for name in [name for name in vars(config) if name.endswith(("dropout", "pdrop"))]:
        setattr(config, name, 0.0)  # some families drop values by default
    with torch.device("meta"):
        base = AutoModelForCausalLM.from_config(config, dtype=dtype, attn_implementation="eager")
    if device.type == "cpu" and weights.family.packed_attention:
        base.set_attn_implementation(packed_attention.NAME)
    base.model.rotary_emb = _rotary(type(base.model.rotary_emb), config, weights.ropes)
    tensors = {tensor.model_name: tensor for tensor in weights.tensors}
    for name, tensor in tensors.items():
        map_name = name.rpartition(".")[0]
        if tensor.is_linear:
            _put(base, map_name, PackedLinear(tensor, _bias(tensors, name, dtype), dtype))
        elif not (name.endswith(".bias") and _is_linear(tensors.get(f"{map_name}.weight"))):
            _put(base, name, torch.nn.Parameter(torch.from_numpy(tensor.dense()).to(dtype), requires_grad=False))
    if config.tie_word_embeddings:
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


def _compute_buffers(base: Any) -> None:
    """Compute the buffers that are no tensors of the file: Gemma's factor of the embeddings."""
    embedding = base.model.embed_tokens
    if hasattr(embedding, "embed_scale"):
        scale = getattr(embedding, "scalar_embed_scale", base.config.hidden_size**0.5)
        embedding.embed_scale = torch.tensor(float(scale))


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
    maps = {name.rpartition(".")[2] for name, module in model.named_modules() if isinstance(module, PackedLinear)}
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

    Logits are computed only for positions that predict a completion token, `_LOGIT_ROWS` at a time; the softmax is in
    float32.
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
    logps: torch.Tensor = _FrozenHeadLogps.apply(rows / divisor, weight, tensor(packed.targets), cap)  # type: ignore[no-untyped-call]
    return logps


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


class _FrozenHeadLogps(torch.autograd.Function):
    """log softmax(cap(hidden @ weight.T))[target], with the gradient computed in the forward pass: no logits are kept.

    hidden: (N, D); weight: (V, D), frozen, without a gradient; targets: (N,); cap: None, or c of c * tanh(x / c).
    -> (N,)
    """

    @staticmethod
    def forward(
        ctx: Any, hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor, cap: float | None
    ) -> torch.Tensor:
        logps = torch.empty(len(targets), device=hidden.device)
        hidden_grads = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        for start in range(0, len(targets), _LOGIT_ROWS):
            part = slice(start, start + _LOGIT_ROWS)
            part_targets = targets[part]
            logits = hidden[part] @ weight.T
            if cap is not None:
                logits = logits.float().div_(cap).tanh_()
            all_logps = torch.log_softmax(logits if cap is None else logits * cap, dim=-1, dtype=torch.float32)
            logps[part] = all_logps.gather(1, part_targets[:, None])[:, 0]
            if hidden_grads is None:
                continue
            if cap is None:
                hidden_grads[part] = weight[part_targets] - all_logps.exp_().to(weight.dtype) @ weight
            else:
                of_logits = all_logps.exp_().neg_()
                of_logits[torch.arange(len(part_targets)), part_targets] += 1
                slope = logits.square_().neg_().add_(1)  # of c * tanh(x / c)
                hidden_grads[part] = of_logits.mul_(slope).to(weight.dtype) @ weight
        if hidden_grads is not None:
            ctx.save_for_backward(hidden_grads)
        return logps

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None, None, None]:
        (hidden_grads,) = ctx.saved_tensors
        return (gradients[0][:, None] * hidden_grads).to(hidden_grads.dtype), None, None, None


def sum_completion_logps(logps: torch.Tensor, packed: Packed) -> torch.Tensor:
    """Return (C,) log-probabilities of completions: the sums of those of their tokens, (N,)."""
    owner = torch.from_numpy(packed.owner).to(logps.device)
    return torch.zeros(len(packed.lengths), device=logps.device).index_add(0, owner, logps)


def completion_logps(model: Any, prompt: Sequence[int], completions: Sequence[Sequence[int]]) -> list[torch.Tensor]:
    """Return the log-probabilities (nats) of each completion's tokens after the shared prompt: [(T_i,), ...]."""
    packed = pack([Group(prompt, completions)])
    return list(torch.split(token_logps(model, packed), packed.lengths.tolist()))
