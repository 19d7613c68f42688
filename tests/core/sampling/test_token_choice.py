"""A token is drawn from the nucleus that llama.cpp would take, its uncertainty is reported, and repetition is detected."""

from __future__ import annotations

import numpy as np
import pytest

from conself_local.errors import ConselfError
from conself_local.sampling.generation import is_repeating
from conself_local.sampling.token_choice import choose_token, nucleus, token_uncertainty


def test_uncertainty_of_a_uniform_distribution() -> None:
    nll, entropy = token_uncertainty(np.zeros(1000, dtype=np.float32), 3)
    assert nll == pytest.approx(np.log(1000)) and entropy == pytest.approx(np.log2(15))
    peaked = np.full(1000, -1000.0, dtype=np.float32)
    peaked[3] = 0
    assert sum(token_uncertainty(peaked, 3)) == pytest.approx(0.0)


def test_repetition_is_detected() -> None:
    assert is_repeating([1, 2, 3] * 30) and is_repeating([7] * 16)
    assert not is_repeating([7] * 15) and not is_repeating(list(range(200)))


@pytest.mark.parametrize("temperature, top_p", [(1.0, 0.8), (0.6, 0.95), (1.3, 0.5), (1.0, 1.0)])
def test_the_nucleus_equals_that_of_llama_cpp(temperature: float, top_p: float) -> None:
    """Tokens, their order and their probabilities equal those that llama.cpp's own chain of samplers leaves."""
    import llama_cpp as ll

    logits = (np.random.default_rng(5).standard_normal(3000) * 4).astype(np.float32)
    data = (ll.llama_token_data * len(logits))(*(ll.llama_token_data(i, float(x), 0.0) for i, x in enumerate(logits)))
    array = ll.llama_token_data_array(data, len(logits), -1, False)
    chain = ll.llama_sampler_chain_init(ll.llama_sampler_chain_default_params())
    for sampler in (
        ll.llama_sampler_init_temp(temperature),
        ll.llama_sampler_init_top_p(top_p, 1),
        ll.llama_sampler_init_dist(1),
    ):
        ll.llama_sampler_chain_add(chain, sampler)
    ll.llama_sampler_apply(chain, array)
    theirs = sorted(((array.data[i].p, -array.data[i].id) for i in range(array.size)), reverse=True)
    ll.llama_sampler_free(chain)

    weights = np.exp((logits - logits.max()) / np.float32(temperature))
    tokens, cumulative = nucleus(weights, float(weights.sum()), np.flatnonzero(weights >= 1e-4), top_p)
    shares = np.diff(cumulative, prepend=0.0) / cumulative[-1]
    if top_p < 1:
        assert [-token for _, token in theirs] == tokens.tolist()
    assert [p for p, _ in theirs[:50]] == pytest.approx(shares[:50].tolist(), rel=1e-3)


def test_draws_follow_the_nucleus() -> None:
    logits = np.log(np.array([0.5, 0.3, 0.15, 0.05], dtype=np.float32))
    drawn = [choose_token(logits, 1.0, 0.9, (i + 0.5) / 1000).token for i in range(1000)]
    assert [drawn.count(t) for t in range(4)] == [526, 316, 158, 0]
    choice = choose_token(logits, 0.0, 0.9, 0.99)
    assert choice.token == 0 and choice.nll == pytest.approx(np.log(2), abs=1e-6)
    with pytest.raises(ConselfError, match="not a number"):
        choose_token(np.full(8, np.nan, dtype=np.float32), 1.0, 0.9, 0.5)
