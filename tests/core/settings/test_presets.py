"""The `paper` preset equals the authors' choices, and settings survive the store."""

from __future__ import annotations

from conself_local.settings import LAPTOP, PAPER, settings_from_json, settings_to_json


def test_the_paper_preset_equals_the_authors_choices() -> None:
    assert (
        PAPER.sampling.observations,
        PAPER.sampling.programs_per_observation,
        PAPER.sampling.samples_per_problem,
    ) == (3, 5, 15)
    assert (PAPER.sampling.observation_temperature, PAPER.sampling.observation_top_p) == (0.7, 0.8)
    assert (PAPER.sampling.temperature, PAPER.sampling.top_p, PAPER.sampling.max_new_tokens) == (1.0, 0.8, 2048)
    assert (PAPER.execution.timeout_s, PAPER.execution.max_timeouts, PAPER.selection.max_crash_rate) == (3.0, None, 0.8)
    assert (
        PAPER.selection.entropy_normalisation,
        PAPER.selection.entropy_threshold,
        PAPER.execution.exact_behaviour,
        PAPER.execution.keep_nondeterministic,
    ) == (
        "min-max",
        0.3,
        True,
        True,
    )
    assert (PAPER.pairs.rejected, PAPER.pairs.max_pairs, PAPER.pairs.distinct_code) == ("lowest-first", 3, False)
    assert (PAPER.training.beta, PAPER.training.lora_rank, PAPER.training.lora_alpha, PAPER.training.learning_rate) == (
        0.1,
        16,
        32,
        5e-6,
    )
    assert (
        PAPER.training.epochs,
        PAPER.training.batch_size,
        PAPER.training.warmup_ratio,
        PAPER.training.max_grad_norm,
    ) == (3, 8, 0.1, 1.0)
    assert (PAPER.training.max_tokens, PAPER.training.sft_weight) == (2048, 0.0)
    assert not (PAPER.sampling.answer_prefix or PAPER.sampling.stop_at_fence or PAPER.sampling.stop_at_repetition)


def test_settings_survive_the_store() -> None:
    for settings in (PAPER, LAPTOP):
        assert settings_from_json(settings_to_json(settings)) == settings
