"""From a PEFT folder to a GGUF LoRA that llama.cpp loads beside the model file.

For the llama architecture GGUF permutes the rows of Q and K, so their `lora_b` is permuted too; qwen2 needs none.
An architecture that is not listed is refused by name. Source: llama.cpp, convert_lora_to_gguf.py and
conversion of the llama family (`permute`), read and restated.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import gguf
import numpy as np
from safetensors.numpy import load_file

from conself_local.errors import ConselfError
from conself_local.sampling.gguf_file import ModelFile
from conself_local.training.gguf_weights import LINEAR_NAMES, PERMUTED, TRAINABLE, permute_rows

_NAMES = {theirs: ours for ours, theirs in LINEAR_NAMES.items()}
_KEY = re.compile(r"base_model\.model\.model\.layers\.(\d+)\.(\w+\.\w+)\.lora_(A|B)\.weight")


def write_gguf_adapter(peft_folder: Path, model: ModelFile, target: Path, *, permute: bool = True) -> None:
    """Write `target`. `permute=False` exists for the test that shows that it matters. Raises ConselfError by name."""
    if model.architecture not in TRAINABLE:
        raise ConselfError(
            f"a GGUF adapter for the architecture {model.architecture} is not known to be right",
            f"the PEFT adapter in {peft_folder} can be used; GGUF is written for {', '.join(TRAINABLE)}",
        )
    config = json.loads((peft_folder / "adapter_config.json").read_text())
    tensors = load_file(peft_folder / "adapter_model.safetensors")
    part = target.with_suffix(".part")
    writer = gguf.GGUFWriter(str(part), model.architecture)
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", float(config["lora_alpha"]))
    for key in sorted(tensors):
        match = _KEY.fullmatch(key)
        if not match or match[2] not in _NAMES:
            raise ConselfError(f"the adapter trains {key}, which has no place in a GGUF adapter", "report this as a bug")
        layer, module, part_name = match.groups()
        value = tensors[key].astype(np.float32)
        if permute and part_name == "B" and model.architecture in PERMUTED and module in ("self_attn.q_proj", "self_attn.k_proj"):
            value = permute_rows(value, model.head_count if module == "self_attn.q_proj" else model.head_count_kv)
        writer.add_tensor(f"blk.{layer}.{_NAMES[module]}.weight.lora_{part_name.lower()}", value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    part.rename(target)
