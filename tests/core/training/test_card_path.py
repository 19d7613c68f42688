"""What a graphics card computes, computed on the processor: the same log-probabilities and gradients in every family.

Vocabulary in blocks, blocks unpacked by torch, torch's own attention with the packed mask. No card is used.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from conself_local.model_files.gguf_weights import family_of
from conself_local.training.packing import Group, pack
from conself_local.training.torch_backend.model import add_lora, load_base, token_logps
from conself_local.training.torch_backend.packed_linear import PackedEmbedding, PackedHead, keep_dense
from tests.fakes.tiny_families import TINY_FAMILIES, write_tiny_family
from tests.fakes.tiny_qwen35 import write_tiny_qwen35

pytestmark = pytest.mark.model

GROUPS = [Group((5, 9, 7, 30), ((11, 12, 13, 14, 2), (21, 22, 2))), Group((6, 8), ((31, 2), (41, 42, 43, 2)))]
_ONE_PER_FAMILY = sorted({tiny.architecture: name for name, tiny in reversed(TINY_FAMILIES.items())}.values())


def _results(model: Any) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Return the log-probabilities and the gradients of a LoRA whose B is not zero."""
    model = add_lora(model, 4, 8, seed=1)
    generator = torch.Generator().manual_seed(2)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data = torch.randn(parameter.shape, generator=generator) * 0.1
    logps = token_logps(model, pack(GROUPS))
    (logps * torch.linspace(-1, 1, len(logps))).sum().backward()  # type: ignore[no-untyped-call]
    return logps.detach(), {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("name", [*_ONE_PER_FAMILY, "llama-key-length", "qwen35"])
def test_a_card_computes_what_the_processor_computes(name: str, tmp_path: Path) -> None:
    path = tmp_path / "tiny.gguf"
    described = write_tiny_qwen35(path) if name == "qwen35" else write_tiny_family(path, TINY_FAMILIES[name])
    processor, card = (
        load_base(described, torch.float32, torch.device("cpu"), 256, as_card=as_card) for as_card in (False, True)
    )
    assert isinstance(card.lm_head, PackedHead) and isinstance(card.model.embed_tokens, PackedEmbedding)
    attention = card.config._attn_implementation
    assert attention == ("sdpa" if family_of(described).packed_attention else "eager")
    tied = bool(card.config.tie_word_embeddings)
    assert (card.lm_head.packed is card.model.embed_tokens.packed) == tied
    (logps, gradients), (card_logps, card_gradients) = _results(processor), _results(card)
    assert torch.allclose(logps, card_logps, atol=2e-5)
    assert set(gradients) == set(card_gradients)
    for key, gradient in gradients.items():
        assert float((gradient - card_gradients[key]).norm()) <= 1e-4 * float(gradient.norm()) + 1e-6, key


def test_recomputed_activations_and_dense_weights_change_nothing_on_the_card_path(tmp_path: Path) -> None:
    described = write_tiny_family(tmp_path / "tiny.gguf", TINY_FAMILIES["llama-key-length"])
    results = []
    for change in ("nothing", "recompute", "dense"):
        model = load_base(described, torch.float32, torch.device("cpu"), 256, as_card=True)
        if change == "recompute":
            model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
            model.train()
        keep_dense(model, change == "dense")
        assert bool(model.lm_head.weight.numel()) == (change == "dense")
        results.append(_results(model))
    (logps, gradients), *others = results
    for other_logps, other_gradients in others:
        assert torch.allclose(logps, other_logps, atol=1e-6)
        assert all(torch.allclose(g, other_gradients[key], atol=1e-5) for key, g in gradients.items())
