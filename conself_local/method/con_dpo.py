"""The Con-DPO loss of one pair, in plain floats: what the trainers implement in tensors and are tested against."""

from __future__ import annotations

import math


def con_dpo_loss(
    policy_chosen: float, policy_rejected: float, ref_chosen: float, ref_rejected: float, weight: float, beta: float
) -> float:
    """weight * -log sigmoid(beta * [(policy_chosen - ref_chosen) - (policy_rejected - ref_rejected)]).

    Log-probabilities in nats, summed over the completion's tokens. (-40, -55, -42, -50, 0.875, 0.1) -> 0.3528.
    Source: arXiv 2603.29292, the Con-DPO objective.
    """
    margin = beta * ((policy_chosen - ref_chosen) - (policy_rejected - ref_rejected))
    return weight * (max(0.0, -margin) + math.log1p(math.exp(-abs(margin))))
