"""Read the flat names of settings that earlier versions used, in stores, results and experiment files.

Nothing is rewritten: a stored round keeps its text, and every reader converts it with the one function of this module.
"""

from __future__ import annotations

from typing import Any

OLD_NAMES = {
    "observations": "sampling.observations",
    "programs_per_observation": "sampling.programs_per_observation",
    "observation_temperature": "sampling.observation_temperature",
    "observation_top_p": "sampling.observation_top_p",
    "observation_max_new_tokens": "sampling.observation_max_new_tokens",
    "observation_tries": "sampling.max_observation_attempts",
    "temperature": "sampling.temperature",
    "top_p": "sampling.top_p",
    "max_new_tokens": "sampling.max_new_tokens",
    "thinking_tokens": "sampling.thinking_tokens",
    "answer_prefix": "sampling.answer_prefix",
    "stop_at_fence": "sampling.stop_at_fence",
    "stop_at_repetition": "sampling.stop_at_repetition",
    "wall_s": "execution.timeout_s",
    "max_timeouts": "execution.max_timeouts",
    "exact_behaviour": "execution.exact_behaviour",
    "keep_nondeterministic": "execution.keep_nondeterministic",
    "grown_inputs": "augmentation.max_inputs",
    "ask_for_inputs": "augmentation.ask_model",
    "max_crash_rate": "selection.max_crash_rate",
    "normaliser": "selection.entropy_normalisation",
    "threshold": "selection.entropy_threshold",
    "rejected": "pairs.rejected",
    "distinct_code": "pairs.distinct_code",
    "min_share": "pairs.min_cluster_share",
    "constant_chosen": "pairs.allow_constant_chosen",
    "max_pairs": "pairs.max_pairs",
    "pairing": "pairs.pairing",
    "pair_weight": "pairs.weight",
    "beta": "training.beta",
    "lora_rank": "training.lora_rank",
    "lora_alpha": "training.lora_alpha",
    "learning_rate": "training.learning_rate",
    "epochs": "training.epochs",
    "batch_pairs": "training.batch_size",
    "warmup_share": "training.warmup_ratio",
    "max_gradient_norm": "training.max_grad_norm",
    "max_tokens": "training.max_tokens",
    "sft_weight": "training.sft_weight",
    "max_displacement": "training.max_displacement",
    "evaluation_samples": "evaluation.samples",
    "evaluation_temperature": "evaluation.temperature",
    "evaluation_top_p": "evaluation.top_p",
    "evaluation_max_new_tokens": "evaluation.max_new_tokens",
}
"""Every old name with the full name of today."""
_OLD_NAME_OF = {new: old for old, new in OLD_NAMES.items()}


def rename_old(values: dict[str, Any]) -> dict[str, Any]:
    """Return the values under the names of today; names that are not old stay as they are.

    An entropy threshold above 1, which selected every informative problem, becomes None. Raises ValueError if a setting
    is given under both names.
    """
    renamed: dict[str, Any] = {name: value for name, value in values.items() if name not in OLD_NAMES}
    for old, value in values.items():
        if old not in OLD_NAMES:
            continue
        if OLD_NAMES[old] in renamed:
            raise ValueError(f"{OLD_NAMES[old]} is given twice, also under its old name {old}")
        is_off = old == "threshold" and type(value) in (int, float) and value > 1
        renamed[OLD_NAMES[old]] = None if is_off else value
    return renamed


def hashed_name(name: str) -> str:
    """Return the name of a setting in content hashes: the old one if it has one, so that a hash stays what it was."""
    return _OLD_NAME_OF.get(name, name)
