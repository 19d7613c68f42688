"""Compute the Con-DPO loss of a pair in tensors; a test compares it with `method.con_dpo.con_dpo_loss`.

The SFT term is not added here (`backend.py`). Source: arXiv 2603.29292.
"""

from __future__ import annotations

import torch


def con_dpo_pair_loss(
    chosen_logps_sum: torch.Tensor,
    rejected_logps_sum: torch.Tensor,
    ref_chosen: float,
    ref_rejected: float,
    weight: float,
    beta: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (loss, margin) of one pair, both of shape ().

    Log-probabilities are in nats, summed over the tokens of the completion.
    margin = beta * [(chosen - ref_chosen) - (rejected - ref_rejected)], loss = weight * -log sigmoid(margin).
    """
    margin = beta * ((chosen_logps_sum - ref_chosen) - (rejected_logps_sum - ref_rejected))
    return -weight * torch.nn.functional.logsigmoid(margin), margin
