"""The `paper` preset equals the authors' choices, and settings survive the store."""

from __future__ import annotations

from conself_local.settings import LAPTOP, PAPER, settings_from_json, settings_to_json


def test_the_paper_preset_equals_the_authors_choices() -> None:
    assert (PAPER.observations, PAPER.programs_per_observation, PAPER.samples_per_problem) == (3, 5, 15)
    assert (PAPER.observation_temperature, PAPER.observation_top_p) == (0.7, 0.8)
    assert (PAPER.temperature, PAPER.top_p, PAPER.max_new_tokens) == (1.0, 0.8, 2048)
    assert (PAPER.wall_s, PAPER.max_timeouts, PAPER.max_crash_rate) == (3.0, None, 0.8)
    assert (PAPER.normaliser, PAPER.threshold, PAPER.exact_behaviour, PAPER.keep_nondeterministic) == (
        "min-max",
        0.3,
        True,
        True,
    )
    assert (PAPER.rejected, PAPER.max_pairs, PAPER.distinct_code) == ("lowest-first", 3, False)
    assert (PAPER.beta, PAPER.lora_rank, PAPER.lora_alpha, PAPER.learning_rate) == (0.1, 16, 32, 5e-6)
    assert (PAPER.epochs, PAPER.batch_pairs, PAPER.warmup_share, PAPER.max_gradient_norm) == (3, 8, 0.1, 1.0)
    assert (PAPER.max_tokens, PAPER.sft_weight) == (2048, 0.0)
    assert (PAPER.prompt, PAPER.vote_weights, PAPER.chosen_programs) == ("observation", "equal", None)
    assert (PAPER.min_share, PAPER.max_cluster_share, PAPER.min_vote_share) == (0.0, None, 0.0)
    assert not (PAPER.answer_prefix or PAPER.stop_at_fence or PAPER.stop_at_repetition)


def test_settings_survive_the_store() -> None:
    for settings in (PAPER, LAPTOP):
        assert settings_from_json(settings_to_json(settings)) == settings
