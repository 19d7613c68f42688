"""With every weight 1, loss and gradients equal those of TRL's sigmoid DPO on the same pairs, in float32."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from conself_local.model_files.bundled import bundled_model
from conself_local.training.packing import group_of, pack
from conself_local.training.torch_backend.loss import con_dpo_pair_loss
from conself_local.training.torch_backend.model import sum_completion_logps, token_logps
from tests.benchmarks.training_pairs import BETA, make_pairs, token_pair
from tests.benchmarks.trl_peer import load_for_trl, load_tokenizer, make_trainer

pytestmark = pytest.mark.model

LOSS_TOLERANCE, GRADIENT_TOLERANCE = 1e-4, 2e-3


def test_loss_and_gradients_equal_those_of_trl(tmp_path: Path) -> None:
    torch.set_num_threads(2)
    path = bundled_model()
    tokenizer, texts = load_tokenizer(path), make_pairs(2, 20, (10, 30))
    trainer = make_trainer(load_for_trl(path, torch.float32), tokenizer, texts, tmp_path, micro_batch=2)
    model = trainer.model
    pairs = [token_pair(text, tokenizer) for text in texts]
    packed = pack([group_of(pair) for pair in pairs])
    with torch.no_grad():
        reference = sum_completion_logps(token_logps(model, packed), packed).reshape(-1, 2)
    generator = torch.Generator().manual_seed(4)
    for name, parameter in model.named_parameters():
        if "lora_" in name:  # A too: TRL draws it from a generator whose state depends on other tests
            parameter.data = torch.randn(parameter.shape, generator=generator) * 0.04

    model.train()
    their_loss: Any = trainer.compute_loss(model, next(iter(trainer.get_train_dataloader())))
    their_loss.backward()
    theirs = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()

    sums = sum_completion_logps(token_logps(model, packed), packed).reshape(-1, 2)
    losses = [
        con_dpo_pair_loss(chosen, rejected, float(reference[i, 0]), float(reference[i, 1]), 1.0, BETA)[0]
        for i, (chosen, rejected) in enumerate(sums)
    ]
    our_loss = torch.stack(losses).mean()
    our_loss.backward()  # type: ignore[no-untyped-call]
    ours = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}

    assert float(our_loss.detach()) != pytest.approx(0.6931, abs=0.01), (
        "the adapter was made to move the log-probabilities"
    )
    assert float(our_loss.detach()) == pytest.approx(float(their_loss.detach()), abs=LOSS_TOLERANCE)
    assert set(ours) == set(theirs)
    for name, gradient in ours.items():
        assert float((gradient - theirs[name]).norm()) <= GRADIENT_TOLERANCE * float(theirs[name].norm()), name
