"""The likelihood under the plain prompt is measured once, for the candidates on which the choice depends."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pytest

from conself_local.events import ignore_events
from conself_local.round.verify import verify_store
from conself_local.sampling.sampler import ChatMessage, Completion, EncodedPrompt, SampleRequest
from conself_local.settings import replace_values, settings_to_json
from conself_local.stages.likelihood import find_unmeasured, measure_likelihoods
from conself_local.stages.score import build_round_pairs, choosable, load_evidence, score_problems
from conself_local.store.store import Store
from tests.fakes.home_of_rounds import REAL_ROUND


class Scorer:
    """A sampler that scores: the longer a completion, the likelier it is."""

    def __init__(self) -> None:
        self.prompts: list[tuple[int, ...]] = []

    def encode(
        self, messages: Sequence[ChatMessage], answer_prefix: str = "", *, thinking: bool = False
    ) -> EncodedPrompt:
        raise AssertionError("the prompts are stored")

    def sample(self, requests: Iterable[SampleRequest]) -> Iterator[Completion]:
        raise AssertionError("nothing is sampled here")

    def score(self, prompt: Sequence[int], completion: Sequence[int], adapter: Path | None = None) -> list[float]:
        self.prompts.append(tuple(prompt))
        return [-1.0 / len(completion)] * len(completion)

    def close(self) -> None:
        raise AssertionError("it was not opened here")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """Yield a store with a scored round that may choose four programs a problem, all of the same consensus."""
    shutil.copy(REAL_ROUND, tmp_path / "conself.db")
    with Store(tmp_path / "conself.db") as store:
        changes = {
            "pairs.chosen_programs": 4,
            "pairs.min_cluster_share": 0.0,
            "selection.entropy_threshold": None,
            "selection.entropy_normalisation": "log2",
            "pairs.distinct_code": True,
        }
        settings = replace_values(store.round(1).settings, changes)
        store.db.execute("delete from adapters")  # its files are not here
        store.db.table("rounds").update(1, {"settings": json.dumps(settings_to_json(settings))})
        score_problems(store, store.round(1), ignore_events)
        yield store


def test_candidates_are_measured_once_under_the_plain_prompt(store: Store) -> None:
    round_ = store.round(1)
    unmeasured, scorer = find_unmeasured(store, round_), Scorer()
    assert unmeasured, "the round has a problem with several programs of the highest consensus"
    measure_likelihoods(store, unmeasured, scorer, None, ignore_events)
    assert scorer.prompts == [sample.prompt for sample in unmeasured] and find_unmeasured(store, round_) == []
    plain = {row["plain_prompt_id"] for row in store.rows("select plain_prompt_id from round_problems")}
    assert set(scorer.prompts) <= {store.prompt_token_ids(id) for id in plain}
    build_round_pairs(store, round_, ignore_events)
    assert verify_store(store) == []


def test_the_measured_likelihood_orders_the_chosen(store: Store) -> None:
    round_ = store.round(1)
    measure_likelihoods(store, find_unmeasured(store, round_), Scorer(), None, ignore_events)
    build_round_pairs(store, round_, ignore_events)
    for row in store.rows("select problem_id, chosen_id, min(position) from pairs group by problem_id"):
        evidence = load_evidence(store, round_, store.problem(row["problem_id"]))
        known = [s for s in choosable(evidence, round_.settings) if s.mean_logp is not None]
        if known:
            assert row["chosen_id"] == max(known, key=lambda s: s.mean_logp or 0).id


def test_a_sample_of_the_plain_prompt_needs_no_measurement(store: Store) -> None:
    store.db.execute(
        "update samples set prompt_id = (select plain_prompt_id from round_problems r where r.problem_id = samples.problem_id)"
    )
    assert find_unmeasured(store, store.round(1)) == []
    evidence = load_evidence(store, store.round(1), store.round_problems(1)[0])
    assert evidence.rows and all(row["plain_logp"] == -row["mean_nll"] for row in evidence.rows)


def test_nothing_is_measured_without_the_setting_or_without_token_ids(store: Store) -> None:
    store.db.execute("update samples set token_ids = '[]'")
    assert find_unmeasured(store, store.round(1)) == []
    settings = replace_values(store.round(1).settings, {"pairs.chosen_programs": None})
    assert find_unmeasured(store, dataclasses.replace(store.round(1), settings=settings)) == []


def test_verify_finds_an_impossible_likelihood(store: Store) -> None:
    build_round_pairs(store, store.round(1), ignore_events)
    store.db.execute("update samples set plain_logp = 0.5 where rowid = 1")
    assert any("impossible likelihood under the plain prompt" in sentence for sentence in verify_store(store))
