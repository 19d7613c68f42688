"""The Con-DPO loss in tensors. Tested against `method.con_dpo.con_dpo_loss`. Source: arXiv 2603.29292."""

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
    """(loss, margin) of one pair, scalars; log-probabilities in nats, summed over the completion's tokens."""
    margin = beta * ((chosen_logps_sum - ref_chosen) - (rejected_logps_sum - ref_rejected))
    return -weight * torch.nn.functional.logsigmoid(margin), margin
