"""Set up TRL's DPOTrainer over the same GGUF file, the same pairs and the same LoRA, as well as it can be set up."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
from trl import DPOConfig, DPOTrainer

from tests.benchmarks.training_pairs import ALPHA, BATCH_PAIRS, BETA, LEARNING_RATE, RANK, SEED, TextPair


def load_tokenizer(path: Path) -> Any:
    """Return the tokenizer that transformers reads from the GGUF file."""
    return AutoTokenizer.from_pretrained(str(path.parent), gguf_file=path.name, local_files_only=True)


def load_for_trl(path: Path, dtype: torch.dtype) -> Any:
    """Return the model with dense weights.

    Without the `kernels` package, which fetches code from the hub, transformers has no packed form of these files.
    """
    model = AutoModelForCausalLM.from_pretrained(
        str(path.parent),
        gguf_file=path.name,
        quantization_config=GgufConfig(dequantize=True),
        dtype=dtype,
        local_files_only=True,
    )
    model.hf_quantizer = None  # TRL refuses to train a model that is marked as quantised
    model.is_quantized = False
    return model


_TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def lora_config() -> Any:
    """Return peft's configuration of the LoRA that all contenders train."""
    return LoraConfig(r=RANK, lora_alpha=ALPHA, lora_dropout=0.0, target_modules=_TARGETS, task_type="CAUSAL_LM")


def make_trainer(
    model: Any, tokenizer: Any, pairs: Sequence[TextPair], folder: Path, micro_batch: int, *, precompute: bool = True
) -> DPOTrainer:
    """Return a DPOTrainer of one epoch over the pairs.

    micro_batch: pairs per forward pass; BATCH_PAIRS must be a multiple of it. precompute: compute the reference before
    training.
    """
    rows = [{"prompt": p.prompt, "chosen": p.chosen, "rejected": p.rejected} for p in pairs]
    arguments = DPOConfig(
        output_dir=str(folder),
        per_device_train_batch_size=micro_batch,
        gradient_accumulation_steps=BATCH_PAIRS // micro_batch,
        num_train_epochs=1,
        learning_rate=LEARNING_RATE,
        lr_scheduler_type="cosine",
        warmup_steps=0.1,
        beta=BETA,
        max_grad_norm=1.0,
        weight_decay=0.0,
        bf16=False,
        use_cpu=True,
        gradient_checkpointing=False,
        max_length=None,
        precompute_ref_log_probs=precompute,
        precompute_ref_batch_size=micro_batch,
        report_to=[],
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
        seed=SEED,
    )
    data = Dataset.from_list(rows)
    return DPOTrainer(
        model=model, args=arguments, train_dataset=data, processing_class=tokenizer, peft_config=lora_config()
    )
