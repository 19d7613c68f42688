"""Compute the Con-DPO loss of one pair in plain floats; the trainers implement it in tensors and are tested against it.

Not covered: the SFT term that a trainer may add, gradients, and the mean over the pairs of a batch.
Source: arXiv 2603.29292.
"""

from __future__ import annotations

import math


def con_dpo_loss(
    policy_chosen: float, policy_rejected: float, ref_chosen: float, ref_rejected: float, weight: float, beta: float
) -> float:
    """Return the loss of one pair, in nats: weight * -log sigmoid(margin).

    margin = beta * [(policy_chosen - ref_chosen) - (policy_rejected - ref_rejected)].
    The first four arguments are natural log-probabilities (nats), summed over the completion's tokens; the prompt's
    tokens do not count. `weight` is the consensus of the chosen, in [0, 1], and is not renormalised over a batch.
    `beta` is positive. The loss is at least 0 and decreases as the margin grows; at margin 0 it is weight * log 2.
    Example: (-40, -55, -42, -50, 0.875, 0.1) has the margin 0.7 and -log sigmoid(0.7) = 0.4032, so the loss is 0.3528;
    where the policy equals the reference, the loss is 0.875 * log 2 = 0.6065.
    Source: arXiv 2603.29292, the Con-DPO objective.
    """
    margin = beta * ((policy_chosen - ref_chosen) - (policy_rejected - ref_rejected))
    # -log sigmoid(margin), written so that a large negative margin does not overflow
    return weight * (max(0.0, -margin) + math.log1p(math.exp(-abs(margin))))
