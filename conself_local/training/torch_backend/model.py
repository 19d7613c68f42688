"""The GGUF that samples, as a torch model under LoRA layers, and the log-probabilities of completions.

The base has the dequantised values of the file as shipped, dense or left in their blocks (`packed_linear.py`), computed
in BF16 where the processor or GPU does that, else in float32; LoRA weights are float32. Nothing is looked up on a hub.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
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
from conself_local.training.packing import Group, Packed, pack
from conself_local.training.torch_backend import packed_attention
from conself_local.training.torch_backend.lean_layers import use_lean_layers
from conself_local.training.torch_backend.packed_linear import PackedLinear

LORA_TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
_LOGIT_ROWS = 128
"""Rows of logits over the vocabulary in memory at once."""


def pick_device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def pick_dtype(device: torch.device) -> torch.dtype:
    native = torch.cuda.is_bf16_supported() if device.type == "cuda" else processor_has_bf16()
    return torch.bfloat16 if native else torch.float32


def load_base(model: ModelFile, dtype: torch.dtype, device: torch.device) -> Any:
    """A frozen causal language model of the file's dequantised values. Raises ConselfError for what is not known.

    The linear maps of the layers are left in the file's blocks (`packed_linear.keep_dense` unpacks them for good);
    embeddings, norms and the output head are dense.
    """
    weights = read_weights(model)
    values = weights.config
    config = AutoConfig.for_model(
        **values, rope_parameters={"rope_type": "default", "rope_theta": values["rope_theta"]}
    )
    with torch.device("meta"):
        base = AutoModelForCausalLM.from_config(config, dtype=dtype)
    if device.type == "cpu":
        base.set_attn_implementation(packed_attention.NAME)
    rotary = base.model.rotary_emb
    base.model.rotary_emb = type(rotary)(config=config)  # its frequencies are computed, not loaded
    tensors = {tensor.model_name: tensor for tensor in weights.tensors}
    for name, tensor in tensors.items():
        if name.endswith("_proj.weight"):
            _put(base, name.removesuffix(".weight"), PackedLinear(tensor, _bias(tensors, name, dtype), dtype))
        elif not name.endswith("_proj.bias"):
            _put(base, name, torch.nn.Parameter(torch.from_numpy(tensor.dense()).to(dtype), requires_grad=False))
    if config.tie_word_embeddings:
        base.lm_head.weight = base.model.embed_tokens.weight
    missing = [name for name, value in base.named_parameters() if value.is_meta]
    if missing:
        raise ConselfError(f"{model.path.name} lacks the tensor {missing[0]}", "the file is damaged; get it again")
    use_lean_layers(base)
    return base.to(device).requires_grad_(False)


def _bias(tensors: dict[str, GgufTensor], name: str, dtype: torch.dtype) -> torch.Tensor | None:
    tensor = tensors.get(name.removesuffix("weight") + "bias")
    return None if tensor is None else torch.from_numpy(tensor.dense()).to(dtype)


def _put(base: Any, name: str, value: Any) -> None:
    """A parameter or module in its place; a place that the model does not have, or of another shape, is a damaged file."""
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


def _shape(place: Any) -> tuple[int, ...] | None:
    if isinstance(place, torch.nn.Linear):
        return (place.out_features, place.in_features, place.bias is not None)
    return None if place is None else tuple(place.shape)


def add_lora(model: Any, rank: int, alpha: int, seed: int) -> Any:
    """A fresh adapter on all linear layers but the output head: A random from `seed`, B zero, no dropout."""
    torch.manual_seed(seed)
    config = LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=0.0, target_modules=LORA_TARGETS, task_type="CAUSAL_LM")
    return _cast_by_autocast(get_peft_model(model, config))


def load_lora(model: Any, folder: Path) -> Any:
    return _cast_by_autocast(PeftModel.from_pretrained(model, str(folder), is_trainable=True))


def _cast_by_autocast(model: Any) -> Any:
    """LoRA layers take their input as it is: peft would copy it to float32 for each of them, only to have it cast back."""
    for module in model.modules():
        if isinstance(module, BaseTunerLayer):
            module.cast_input_dtype_enabled = False
    return model


def token_logps(model: Any, packed: Packed) -> torch.Tensor:
    """Log-probability (nats, temperature 1) of every completion token: (N,) float32, as `packed.targets` has them.

    Logits are made only where a completion token is predicted, some rows at a time, in float32.
    """
    base = model.get_base_model() if isinstance(model, PeftModel) else model
    weight = base.lm_head.weight
    device = weight.device

    def tensor(values: Any) -> torch.Tensor:
        return torch.from_numpy(values).to(device)

    sees = tensor(packed.attention_mask())
    mask = torch.zeros(sees.shape, dtype=weight.dtype, device=device).masked_fill_(~sees, torch.finfo(weight.dtype).min)

    mixed = torch.autocast(device.type, weight.dtype) if weight.dtype == torch.bfloat16 else contextlib.nullcontext()
    with mixed:
        hidden = base.model(
            input_ids=tensor(packed.token_ids)[None],
            position_ids=tensor(packed.positions)[None],
            attention_mask=mask[None, None],
            use_cache=False,
        ).last_hidden_state[0]
    rows = hidden[tensor(packed.rows)].to(weight.dtype)
    logps: torch.Tensor = _FrozenHeadLogps.apply(rows, weight, tensor(packed.targets))  # type: ignore[no-untyped-call]
    return logps


class _FrozenHeadLogps(torch.autograd.Function):
    """log softmax(hidden @ weight.T)[target]; the gradient of a frozen head is taken at once, so no logits are kept."""

    @staticmethod
    def forward(ctx: Any, hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        logps = torch.empty(len(targets), device=hidden.device)
        slopes = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        for start in range(0, len(targets), _LOGIT_ROWS):
            part = slice(start, start + _LOGIT_ROWS)
            of_part = targets[part]
            all_logps = torch.log_softmax(hidden[part] @ weight.T, dim=-1, dtype=torch.float32)
            logps[part] = all_logps.gather(1, of_part[:, None])[:, 0]
            if slopes is not None:
                slopes[part] = weight[of_part] - all_logps.exp_().to(weight.dtype) @ weight
        if slopes is not None:
            ctx.save_for_backward(slopes)
        return logps

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        (slopes,) = ctx.saved_tensors
        return (gradients[0][:, None] * slopes).to(slopes.dtype), None, None


def sum_completion_logps(logps: torch.Tensor, packed: Packed) -> torch.Tensor:
    """(N,) of tokens -> (C,) of completions."""
    owner = torch.from_numpy(packed.owner).to(logps.device)
    return torch.zeros(len(packed.lengths), device=logps.device).index_add(0, owner, logps)


def completion_logps(model: Any, prompt: Sequence[int], completions: Sequence[Sequence[int]]) -> list[torch.Tensor]:
    """Log-probabilities of each completion's tokens after the shared prompt: [(T_i,), ...]."""
    packed = pack([Group(prompt, completions)])
    return list(torch.split(token_logps(model, packed), packed.lengths.tolist()))
