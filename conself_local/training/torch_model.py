"""The GGUF that samples, as a torch model under LoRA layers, and the log-probabilities of completions.

The dense weights are the dequantised values of the file as shipped, in BF16 where the processor or GPU computes in
it, else in float32; LoRA weights are float32. Nothing is looked up on a hub.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, GgufConfig
from transformers.utils import logging as transformers_logging

from conself_local.errors import ConselfError
from conself_local.sampling.running_copy import processor_has_bf16

LORA_TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def pick_device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def pick_dtype(device: torch.device) -> torch.dtype:
    native = torch.cuda.is_bf16_supported() if device.type == "cuda" else processor_has_bf16()
    return torch.bfloat16 if native else torch.float32


def load_base(gguf: Path, dtype: torch.dtype, device: torch.device) -> Any:
    """A causal language model of the file's dequantised values. Raises ConselfError for an unknown architecture."""
    transformers_logging.disable_progress_bar()
    try:
        model = AutoModelForCausalLM.from_pretrained(
            str(gguf.parent), gguf_file=gguf.name, quantization_config=GgufConfig(dequantize=True), dtype=dtype,
            trust_remote_code=False, local_files_only=True,
        )  # fmt: skip
    except (ValueError, KeyError, OSError, NotImplementedError) as error:
        raise ConselfError(
            f"{gguf.name} cannot be trained here: {str(error)[:300]}", "models of the llama and qwen2 families can"
        ) from error
    model.config.quantization_config = None
    return model.to(device)


def add_lora(model: Any, rank: int, alpha: int, seed: int) -> Any:
    """A fresh adapter on all linear layers but the output head: A random from `seed`, B zero, no dropout."""
    torch.manual_seed(seed)
    config = LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=0.0, target_modules=LORA_TARGETS, task_type="CAUSAL_LM")
    return get_peft_model(model, config)


def load_lora(model: Any, folder: Path) -> Any:
    return PeftModel.from_pretrained(model, str(folder), is_trainable=True)


def completion_logps(
    model: Any, prompt: Sequence[int], completions: Sequence[Sequence[int]]
) -> list[torch.Tensor]:
    """Log-probabilities (nats, temperature 1) of each completion's tokens after the shared prompt: [(T_i,), ...].

    One right-padded batch; logits only at completion positions, never over the prompt; float32 softmax.
    """
    base = model.get_base_model() if isinstance(model, PeftModel) else model
    device = base.lm_head.weight.device
    longest = max(len(c) for c in completions)
    n = len(prompt) + longest - 1
    ids = torch.zeros((len(completions), n), dtype=torch.long, device=device)
    mask = torch.zeros_like(ids)
    for row, completion in enumerate(completions):
        tokens = [*prompt, *completion][:-1]
        ids[row, : len(tokens)] = torch.tensor(tokens, device=device)
        mask[row, : len(tokens)] = 1
    hidden = base.model(input_ids=ids, attention_mask=mask).last_hidden_state
    result = []
    for row, completion in enumerate(completions):
        start = len(prompt) - 1
        logits = base.lm_head(hidden[row, start : start + len(completion)]).float()
        targets = torch.tensor(completion, device=device)
        result.append(torch.log_softmax(logits, dim=-1).gather(1, targets[:, None])[:, 0])
    return result
