"""Blocks are unpacked by torch to the bits of ggml; maps, embeddings and heads over blocks equal dense ones."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from conself_local.model_files import ggml
from conself_local.model_files.family import Order
from conself_local.model_files.gguf_weights import GgufTensor
from conself_local.training.torch_backend import frozen_head, packed_rows
from conself_local.training.torch_backend.blocks import can_unpack, unpack_blocks
from conself_local.training.torch_backend.frozen_head import head_logps
from conself_local.training.torch_backend.packed_linear import PackedEmbedding, PackedHead, PackedLinear
from conself_local.training.torch_backend.packed_rows import PackedRows

pytestmark = pytest.mark.model

ROWS, COLUMNS = 24, 512
TYPES = {
    "F32": 0, "F16": 1, "Q4_0": 2, "Q4_1": 3, "Q5_0": 6, "Q5_1": 7, "Q8_0": 8, "Q2_K": 10, "Q3_K": 11, "Q4_K": 12,
    "Q5_K": 13, "Q6_K": 14, "IQ2_XXS": 16, "IQ2_XS": 17, "IQ3_XXS": 18, "IQ1_S": 19, "IQ4_NL": 20, "IQ3_S": 21,
    "IQ2_S": 22, "IQ4_XS": 23, "IQ1_M": 29, "BF16": 30,
}  # fmt: skip


def _blocks(quant_type: int, rows: int = ROWS, columns: int = COLUMNS) -> ggml.Bytes:
    """Return blocks of normal values, or of random bytes if ggml cannot write the type alone."""
    random = np.random.default_rng(quant_type)
    if ggml.can_pack(quant_type):
        return ggml.pack(quant_type, random.standard_normal((rows, columns)).astype(np.float32))
    return random.integers(0, 256, rows * ggml.row_bytes(quant_type, columns), dtype=np.uint8)


@pytest.mark.parametrize("quant_type", TYPES.values(), ids=TYPES)
def test_torch_unpacks_every_type_to_the_bits_of_ggml(quant_type: int) -> None:
    assert can_unpack(quant_type)
    for packed in (_blocks(quant_type), _any_bytes(quant_type)):
        expected = ggml.unpack(quant_type, packed, ROWS, COLUMNS)
        found = unpack_blocks(quant_type, torch.from_numpy(packed).reshape(ROWS, -1)).numpy()
        assert found.dtype == np.float32 and found.shape == expected.shape
        number = ~np.isnan(expected)
        assert number.mean() > 0.5 and np.array_equal(np.isnan(found), ~number)
        assert np.array_equal(found[number].view(np.uint32), expected[number].view(np.uint32))


def _any_bytes(quant_type: int) -> ggml.Bytes:
    """Return random bytes, in which every bit of a block is used; scales may be infinite or no number."""
    size = ROWS * ggml.row_bytes(quant_type, COLUMNS)
    return np.random.default_rng(quant_type + 100).integers(0, 256, size, dtype=np.uint8)


def test_a_type_that_torch_cannot_unpack_is_known_as_such() -> None:
    assert not any(can_unpack(quant_type) for quant_type in (34, 35, 39))


def _tensor(quant_type: int, rows: int, columns: int, order: Order | None = None) -> GgufTensor:
    packed = _blocks(quant_type, rows, columns)
    return GgufTensor("t", "t", quant_type, (rows, columns), packed, order or Order(), True, lambda values: values)


_ORDERS = {
    "same": Order(),
    "rows": Order(rows=np.random.default_rng(1).permutation(96)),
    "columns": Order(columns=np.random.default_rng(2).permutation(256)),
}


@pytest.mark.parametrize("chunk_values", [2**23, 20 * 256])
@pytest.mark.parametrize("order", _ORDERS.values(), ids=_ORDERS)
@pytest.mark.parametrize("quant_type", [12, 14, 8, 34], ids=["Q4_K", "Q6_K", "Q8_0", "TQ1_0"])
def test_a_map_in_blocks_equals_the_dense_map_as_on_a_card(
    quant_type: int, order: Order, chunk_values: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Values and gradients; a type that torch cannot unpack is kept dense in blocks of plain floats."""
    monkeypatch.setattr(packed_rows, "CHUNK_VALUES", chunk_values)
    tensor = _tensor(quant_type, 96, 256, order)
    weight = torch.from_numpy(tensor.dense())
    linear = PackedLinear(PackedRows(tensor, torch.float32, as_card=True), None, torch.float32)
    assert torch.equal(linear.dense_weight(), weight)
    assert len(list(linear.weight_chunks())) == (1 if chunk_values == 2**23 else 5)
    assert linear.packed.blocks.dtype == torch.uint8 and not linear.packed.state_dict()
    x = torch.randn(2, 7, 256, generator=torch.Generator().manual_seed(0))
    outputs, gradients = [], []
    maps: list[Callable[[torch.Tensor], torch.Tensor]] = [linear, lambda x: x @ weight.T]
    for multiply in maps:
        leaf = x.clone().requires_grad_()
        y = multiply(leaf)
        (y * torch.linspace(-1, 1, 96)).sum().backward()  # type: ignore[no-untyped-call]
        outputs.append(y.detach())
        assert leaf.grad is not None
        gradients.append(leaf.grad)
    assert torch.allclose(outputs[0], outputs[1], atol=1e-4)
    assert torch.allclose(gradients[0], gradients[1], atol=1e-3)


def test_blocks_move_with_the_module_and_stay_bytes() -> None:
    """A move to a device goes through `_apply`; a cast of the module must not touch the bytes of the blocks."""
    linear = PackedLinear(PackedRows(_tensor(12, 96, 256), torch.float32), None, torch.float32)
    before = linear.packed.blocks.clone()
    moved = linear.to("meta")
    assert moved.packed.blocks.device.type == "meta" and moved.weight.device.type == "meta"
    linear = PackedLinear(PackedRows(_tensor(12, 96, 256), torch.float32), None, torch.float32).to(torch.bfloat16)
    assert torch.equal(linear.packed.blocks, before)


def test_rows_of_an_embedding_are_unpacked_for_the_ids() -> None:
    tensor = _tensor(14, 96, 256)
    ids = torch.tensor([[5, 5, 0, 95]])
    embedding = PackedEmbedding(PackedRows(tensor, torch.float32, as_card=True), torch.float32, 2.5)
    assert torch.equal(embedding(ids), torch.from_numpy(tensor.dense())[ids] * 2.5)


@pytest.mark.parametrize("cap", [None, 3.0])
@pytest.mark.parametrize("vocabulary_chunk", [4096, 37])
def test_the_head_in_blocks_equals_the_dense_head(
    vocabulary_chunk: int, cap: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Values and gradients, for one chunk of the vocabulary and for several, with targets in each."""
    monkeypatch.setattr(frozen_head, "_VOCABULARY_CHUNK", vocabulary_chunk)
    tensor = _tensor(14, 301, 256)
    head = PackedHead(PackedRows(tensor, torch.float32, as_card=True), None, torch.float32)
    dense = torch.nn.Linear(256, 301, bias=False).requires_grad_(False)
    dense.weight.copy_(torch.from_numpy(tensor.dense()))
    hidden = 0.3 * torch.randn(64, 256, generator=torch.Generator().manual_seed(1))
    targets = torch.arange(64) * 4 % 301
    logits = hidden @ dense.weight.T
    expected = torch.log_softmax(logits if cap is None else cap * torch.tanh(logits / cap), dim=-1)
    results = []
    for one in (head, dense):
        leaf = hidden.clone().requires_grad_()
        logps = head_logps(leaf, one, targets, cap)
        assert torch.allclose(logps, expected[torch.arange(64), targets], atol=1e-4)
        (logps * torch.linspace(-1, 1, 64)).sum().backward()  # type: ignore[no-untyped-call]
        assert leaf.grad is not None
        results.append(leaf.grad)
    assert torch.allclose(results[0], results[1], atol=1e-4) and float(results[0].abs().max()) > 0.1
