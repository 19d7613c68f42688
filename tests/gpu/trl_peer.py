"""Measure TRL's DPOTrainer on a model of the same shape with dense random weights, the same pairs and the same LoRA."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast, TrainerCallback
from trl import DPOConfig, DPOTrainer

from conself_local.training.torch_backend.devices import ComputeDevice
from tests.gpu.jobs import LEARNING_RATE, RANK, make_job
from tests.gpu.shapes import Shape

_STEPS = 3
_MAPS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def trl_speed(shape: Shape, compute: ComputeDevice, lengths: tuple[int, int], folder: Path) -> tuple[float, float]:
    """Return the tokens per second, counted as ours, and the peak in bytes of steps with two pairs."""
    times: list[float] = []

    class Watch(TrainerCallback):  # type: ignore[misc]
        def on_step_begin(self, *arguments: Any, **others: Any) -> None:
            times.append(time.perf_counter())

        def on_step_end(self, *arguments: Any, **others: Any) -> None:
            torch.get_device_module(compute.device).synchronize()
            times.append(time.perf_counter())

    trainer = DPOTrainer(
        model=_model(shape, compute),
        args=_arguments(compute, folder),
        train_dataset=_pairs(lengths),
        processing_class=_tokenizer(),
        peft_config=LoraConfig(r=RANK, lora_alpha=2 * RANK, lora_dropout=0.0, target_modules=_MAPS),
        callbacks=[Watch()],
    )
    compute.memory.reset_peak()
    trainer.train()
    seconds = min(after - before for before, after in zip(times[::2], times[1::2], strict=True))
    return 2 * (lengths[0] + 2 * lengths[1]) / seconds, compute.memory.peak_bytes()


def _model(shape: Shape, compute: ComputeDevice) -> Any:
    config = AutoConfig.for_model(
        "qwen2",
        vocab_size=shape.vocabulary,
        hidden_size=shape.width,
        intermediate_size=shape.hidden,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        tie_word_embeddings=shape.tied,
    )
    with torch.device(compute.device):
        return AutoModelForCausalLM.from_config(config, dtype=compute.dtype)


def _arguments(compute: ComputeDevice, folder: Path) -> DPOConfig:
    return DPOConfig(
        output_dir=str(folder),
        per_device_train_batch_size=2,
        max_steps=_STEPS,
        learning_rate=LEARNING_RATE,
        beta=0.1,
        bf16=compute.dtype == torch.bfloat16,
        use_cpu=compute.device.type == "cpu",
        gradient_checkpointing=True,
        gradient_checkpointing_kwargs={"use_reentrant": False},
        max_length=None,
        precompute_ref_log_probs=True,
        report_to=[],
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
    )


def _pairs(lengths: tuple[int, int]) -> Dataset:
    pairs = make_job(Path("unused"), 2 * _STEPS, *lengths, 1, 2).pairs

    def text(tokens: tuple[int, ...]) -> str:
        return "".join(f" t{n}" for n in tokens)

    return Dataset.from_list(
        [{"prompt": text(p.prompt), "chosen": text(p.chosen), "rejected": text(p.rejected)} for p in pairs]
    )


def _tokenizer() -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(WordLevel({f"t{n}": n for n in range(640)}, unk_token="t0"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="t0", pad_token="t1", eos_token="t2")
