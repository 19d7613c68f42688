"""A packed sequence gives every completion the log-probabilities of a separate one; weights may be packed or dense."""

from __future__ import annotations

from typing import Any

import gguf
import numpy as np
import pytest
import torch
from gguf.quants import dequantize
from hypothesis import given
from hypothesis import strategies as st

from conself_local.errors import ConselfError
from conself_local.model_files import ggml
from conself_local.model_files.bundled import bundled_model
from conself_local.model_files.model_file import load_model_file
from conself_local.training.job import TokenPair
from conself_local.training.packing import Group, group_of, micro_batches, pack
from conself_local.training.torch_backend.model import add_lora, load_base, token_logps
from conself_local.training.torch_backend.packed_linear import dense_bytes, keep_dense

pytestmark = pytest.mark.model

GROUPS = (
    Group((1, 4093, 198, 28), ((11, 12, 13, 2), (21, 22), (31,))),
    Group((1, 500, 600, 700, 800), ((41, 42, 43), (51, 52, 53, 54, 55))),
)


def test_a_small_sequence_has_the_worked_layout() -> None:
    packed = pack([Group((7, 8), ((1, 2, 3), (4, 5)))])
    assert packed.token_ids.tolist() == [7, 8, 1, 2, 4]
    assert packed.positions.tolist() == [0, 1, 2, 3, 2]
    assert packed.rows.tolist() == [1, 2, 3, 1, 4] and packed.targets.tolist() == [1, 2, 3, 4, 5]
    assert packed.owner.tolist() == [0, 0, 0, 1, 1] and packed.lengths.tolist() == [3, 2]
    sees = packed.attention_mask().astype(int).tolist()
    assert sees == [[1, 0, 0, 0, 0], [1, 1, 0, 0, 0], [1, 1, 1, 0, 0], [1, 1, 1, 1, 0], [1, 1, 0, 0, 1]]


@given(st.lists(st.integers(1, 300), min_size=1, max_size=30), st.integers(20, 600))
def test_micro_batches_hold_every_pair_once_within_the_budget(lengths: list[int], most: int) -> None:
    pairs = [TokenPair((1,), (2,) * n, (3,), 1.0) for n in lengths]
    parts = micro_batches(pairs, range(len(pairs)), most)
    assert sorted(i for part in parts for i in part) == list(range(len(pairs)))
    assert all(len(part) == 1 or sum(group_of(pairs[i]).size for i in part) <= most for part in parts)


@pytest.fixture(scope="module")
def model() -> Any:
    """Return the bundled model with a LoRA whose B is not zero."""
    torch.set_num_threads(2)
    model = add_lora(load_base(load_model_file(bundled_model()), torch.float32, torch.device("cpu")), 4, 8, seed=1)
    generator = torch.Generator().manual_seed(2)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data = torch.randn(parameter.shape, generator=generator) * 0.02
    return model


def _gradients(model: Any, groups_apart: bool) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Return the log-probabilities, and the adapter's gradients of their weighted sum.

    groups_apart: one sequence per completion instead of one packed sequence.
    """
    if groups_apart:
        logps = torch.cat([token_logps(model, pack([Group(g.prompt, (c,))])) for g in GROUPS for c in g.completions])
    else:
        logps = token_logps(model, pack(GROUPS))
    (logps * torch.linspace(-1, 1, len(logps))).sum().backward()  # type: ignore[no-untyped-call]
    gradients = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    model.zero_grad()
    return logps.detach(), gradients


@pytest.mark.parametrize("longest", [768, 0])
def test_packed_completions_equal_those_of_their_own_sequences(
    model: Any, longest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gradients agree too, with attention weights kept, and with them recomputed as for longer sequences."""
    apart = _gradients(model, True)
    monkeypatch.setattr("conself_local.training.torch_backend.packed_attention.KEPT_TOKENS", longest)
    together = _gradients(model, False)
    assert together[0].tolist() == pytest.approx(apart[0].tolist(), abs=2e-4)
    for one, other in zip(together[1], apart[1], strict=True):
        assert float((one - other).norm()) <= 1e-3 * float(other.norm())


def test_dense_and_packed_weights_and_recomputed_activations_give_the_same_bits(model: Any) -> None:
    packed = _gradients(model, False)
    keep_dense(model, True)
    dense = _gradients(model, False)
    keep_dense(model, False)
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    model.train()
    recomputed = _gradients(model, False)
    model.gradient_checkpointing_disable()
    for other in (dense, recomputed):
        assert torch.equal(packed[0], other[0])
        assert all(torch.equal(a, b) for a, b in zip(packed[1], other[1], strict=True))
    assert dense_bytes(model) == 4 * 106_168_320


def test_the_model_equals_that_of_transformers_own_loader(model: Any) -> None:
    from transformers import AutoModelForCausalLM, GgufConfig

    path = bundled_model()
    theirs = AutoModelForCausalLM.from_pretrained(
        str(path.parent),
        gguf_file=path.name,
        quantization_config=GgufConfig(dequantize=True),
        dtype=torch.float32,
        local_files_only=True,
    )
    packed = pack(GROUPS)
    with torch.no_grad(), model.disable_adapter():
        logits = theirs(torch.tensor([[*GROUPS[1].prompt, *GROUPS[1].completions[1]]])).logits[0, 4:-1]
        expected = torch.log_softmax(logits, -1).gather(1, torch.tensor([GROUPS[1].completions[1]]).T)[:, 0]
        ours = token_logps(model, packed)[-5:]
    assert ours.tolist() == pytest.approx(expected.tolist(), abs=2e-4)


@pytest.mark.parametrize(
    "kind", ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "F16", "BF16", "F32"]
)
def test_ggml_packs_and_unpacks_what_the_gguf_package_reads(kind: str) -> None:
    number = gguf.GGMLQuantizationType[kind]
    values = np.random.default_rng(3).standard_normal((4, 512)).astype(np.float32)
    packed = ggml.pack(int(number), values)
    ours = ggml.unpack(int(number), packed, 4, 512)
    theirs = dequantize(packed.reshape(4, -1).view({"F16": np.float16, "F32": np.float32}.get(kind, np.uint8)), number)
    assert np.array_equal(ours, theirs.astype(np.float32).reshape(4, 512))
    assert float(np.abs(ours - values).mean()) < 0.3


def test_ggml_refuses_what_it_cannot_do() -> None:
    with pytest.raises(ConselfError, match="size does not match"):
        ggml.unpack(2, np.zeros(17, dtype=np.uint8), 1, 32)
    with pytest.raises(ConselfError, match="does not fill blocks"):
        ggml.row_bytes(2, 33)
    with pytest.raises(ConselfError, match="cannot unpack"):
        ggml.row_bytes(200, 32)
    with pytest.raises(ConselfError, match="importance matrix"):
        ggml.pack(16, np.zeros((1, 256), dtype=np.float32))
