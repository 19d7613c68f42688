"""A round samples more only where that is open, and takes the same samples after a kill at any point.

The sandbox is real; the answers are written by the test.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conself_local.events import ignore_events
from conself_local.round.run import STAGES, _sampling_is_done
from conself_local.round.verify import verify_store
from conself_local.sampling.sampler import SampleRequest
from conself_local.settings import LAPTOP, change_settings
from conself_local.stages.sample import sample_observations
from conself_local.store.reports import progress, round_report
from conself_local.store.store import RoundInfo, Store
from tests.fakes.scripted_round import answer, problem, run_to_pairs, sample_scripted, start_round
from tests.fakes.scripted_sampler import ScriptedSampler

CHANGES: dict[str, Any] = {
    "sampling.prompt": "plain", "sampling.answer_prefix": False, "sampling.adaptive": True, "sampling.adaptive_error": 0.1,
    "augmentation.max_inputs": 0, "pairs.max_pairs": 1,
}  # fmt: skip
SETTINGS = change_settings(LAPTOP, CHANGES)
FIXED = change_settings(SETTINGS, {"sampling.adaptive": False})
PROBLEMS = [problem(name) for name in ("alike", "crash", "scatter", "close", "settle", "silent")]
TAKEN = {"alike": 5, "crash": 5, "scatter": 5, "close": 20, "settle": 10, "silent": 5}


def _place(request: SampleRequest) -> int:
    """Return the place of the sample in the order in which a problem is sampled."""
    _, _, _, observation, number = request.key.split("/")
    return int(number) * 3 + int(observation)


def _write(request: SampleRequest) -> str:
    place, name = _place(request), request.key.split("/")[2]
    if name == "silent":
        return "I do not know."
    bodies = {
        "alike": "n * 2",
        "crash": "n / 0",
        "scatter": f"n + {place}",
        "close": f"n + {place % 2 if place < 15 else 0}",
        "settle": f"n + {place % 5 // 4}",
    }
    return answer(bodies[name])


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a store with an adaptive round that nothing has disturbed."""
    path = tmp_path_factory.mktemp("round") / "conself.db"
    with Store(path) as store:
        sampler = run_to_pairs(store, start_round(store, SETTINGS, PROBLEMS), _write)
        assert len(sampler.sampled) == sum(TAKEN.values()) == 50
        store.rows("pragma wal_checkpoint(truncate)")
    return path


@pytest.fixture
def store(undisturbed: Path, tmp_path: Path) -> Iterator[Store]:
    """Yield a copy of the store with the undisturbed round."""
    shutil.copy(undisturbed, tmp_path / "conself.db")
    with Store(tmp_path / "conself.db") as store:
        yield store


def _samples(store: Store, round_: RoundInfo) -> list[dict[str, Any]]:
    columns = "problem_id, observation, number, text, seed, prompt_id, program_id"
    sql = f"select {columns} from samples where round_id = ? order by problem_id, observation, number"
    return store.rows(sql, round_.id)


def test_a_round_takes_and_reports_what_the_tests_decide(store: Store) -> None:
    sql = "select problem_id, count(*) as count from samples group by problem_id"
    assert {row["problem_id"][2:]: row["count"] for row in store.rows(sql)} == TAKEN
    assert (store.stage_summary(1, "sample") or "").endswith(
        "adaptive sampling took 50 of 90 samples, saved 40 (44%); 1 alike, 2 crashed, 1 scattered, 1 settled; 1 got more"
    )
    assert round_report(store, 1)["samples_saved"] == 40
    assert {row["stage"]: row for row in progress(store, 1)}["sample"] == {"stage": "sample", "done": 50, "total": 50}
    assert {r["problem_id"] for r in store.rows("select problem_id from pairs")} == {"t/close", "t/settle"}
    assert verify_store(store) == []


def test_the_samples_are_a_part_of_those_of_a_full_round(store: Store) -> None:
    full = start_round(store, FIXED, PROBLEMS)
    run_to_pairs(store, full, _write)
    fixed = {(r["problem_id"], r["observation"], r["number"]): r for r in _samples(store, full)}
    for row in _samples(store, store.round(1)):
        place = row["problem_id"], row["observation"], row["number"]
        assert fixed.get(place, row) == row and (place in fixed or row["problem_id"] == "t/close")
    assert len(fixed) == 90 and verify_store(store) == []


def test_a_kill_at_any_point_changes_nothing(store: Store) -> None:
    """The samples end in another order each time, and what follows must not depend on it."""
    store.db.execute("delete from executions")  # all programs run again
    disturbed = start_round(store, SETTINGS, PROBLEMS)
    asked: list[str] = []
    for fails_after in (0, 1, 3, 7, 2, 11, 5, 13, 1, None):
        sampler = _Reversed(_write, fails_after)
        try:
            sample_observations(store, disturbed, sampler, None, ignore_events)
            sample_scripted(store, disturbed, sampler)
        except ConnectionError:
            assert fails_after is not None and not _sampling_is_done(store, disturbed, True)
        asked += sampler.sampled
    assert len(asked) == len(set(asked)) == sum(TAKEN.values()), "nothing is sampled twice"
    assert _samples(store, disturbed) == _samples(store, store.round(1))
    store.finish_stage(disturbed.id, "running copy", "scripted")
    assert _sampling_is_done(store, disturbed, True) and "sample" in STAGES
    assert verify_store(store) == []


class _Reversed(ScriptedSampler):
    """Answers the requests from the last to the first, as far as it comes."""

    def sample(self, requests: Any) -> Iterator[Any]:
        return super().sample(list(requests)[::-1])


def test_verify_finds_a_sample_that_the_tests_would_not_have_taken(store: Store) -> None:
    store.db.execute("delete from sample_scores")
    store.db.execute("delete from pairs")
    store.db.execute("delete from samples where id = '1/t/settle/0/3'")
    assert any("t/settle has 9 samples in round 1, not 10" in one for one in verify_store(store))
