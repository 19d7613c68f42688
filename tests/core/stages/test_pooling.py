"""Samples of earlier rounds vote and are paired, without being sampled or run again, and training starts anew."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from conself_local.errors import ConselfError
from conself_local.events import ignore_events
from conself_local.experiment.results import Arm, ExperimentInputs
from conself_local.experiment.spec import Experiment
from conself_local.round.presets import SettingsChoice
from conself_local.round.start import Request, open_round
from conself_local.round.verify import verify_store
from conself_local.round.views import pair_rows, problem_view
from conself_local.sampling.sampler import SampleRequest
from conself_local.settings import LAPTOP, Settings, change_settings
from conself_local.stages.score import build_round_pairs, load_evidence, score_problems
from conself_local.stages.train import parent_adapter
from conself_local.store.pooling import count_pooled
from conself_local.store.pruning import remove_token_ids
from conself_local.store.store import RoundInfo, Store
from tests.fakes.scripted_round import answer, make_sandbox, problem, run_to_pairs, start_round

PROBLEMS = [problem("double"), problem("other")]
SETTINGS = change_settings(
    LAPTOP,
    {
        "sampling.prompt": "plain",
        "sampling.answer_prefix": False,
        "sampling.observations": 2,
        "sampling.programs_per_observation": 2,
        "augmentation.max_inputs": 2,
        "pairs.max_pairs": 2,
        "pairs.pool_rounds": True,
    },
)
ALONE = change_settings(SETTINGS, {"pairs.pool_rounds": False})


def _first(request: SampleRequest) -> str:
    """Write three programs of one behaviour, in two spellings, and one that differs."""
    return answer({"0/0": "n * 2", "0/1": "2 * n", "1/0": "n * 2"}.get(request.key[-3:], "n + 1 - 1"))


def _second(request: SampleRequest) -> str:
    """Write four programs, of which one behaves as most of the first round's as long as the input is small."""
    return answer({"0/0": "n + 7", "0/1": "n - 7", "1/0": "min(n, 4) * 2"}.get(request.key[-3:], "n // 7"))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a store with a finished round."""
    path = tmp_path_factory.mktemp("round") / "conself.db"
    with Store(path) as store:
        run_to_pairs(store, start_round(store, SETTINGS, PROBLEMS), _first)
        store.rows("pragma wal_checkpoint(truncate)")
    return path


@pytest.fixture
def store(finished: Path, tmp_path: Path) -> Iterator[Store]:
    """Yield a copy of the store with a finished round."""
    shutil.copy(finished, tmp_path / "conself.db")
    with Store(tmp_path / "conself.db") as store:
        yield store


def _next(store: Store, settings: Settings = SETTINGS) -> RoundInfo:
    round_ = start_round(store, settings, PROBLEMS, seed=9)
    run_to_pairs(store, round_, _second)
    return round_


def test_pooled_votes_decide_and_give_pairs(store: Store) -> None:
    executions = int(store.value("select count(*) from executions where limits not like '%grown%'"))
    round_ = _next(store)
    evidence = load_evidence(store, round_, PROBLEMS[0])
    assert evidence.sampled == 8 and [r["round_id"] for r in evidence.rows] == [2] * 4 + [1] * 4
    assert len({(r["observation"], r["number"]) for r in evidence.rows}) == 8
    assert all(None not in b and len(b) > 3 for b in evidence.behaviours), "old programs ran on the new inputs too"
    pairs = pair_rows(store, 2)
    # no behaviour of round 2 has two votes; three of all eight samples say 2 n, which is less than 0.4 of them
    assert pairs == [] and "8 samples of earlier rounds vote too" in (store.stage_summary(2, "score") or "")
    assert int(store.value("select count(*) from executions where limits not like '%grown%'")) == executions + 8
    assert verify_store(store) == []


def test_several_rounds_may_build_the_same_pair(store: Store) -> None:
    excluded = store.rows("select * from pairs order by position")[0]
    store.exclude_pair(excluded["id"], True)
    round_ = start_round(store, SETTINGS, PROBLEMS, seed=9)
    run_to_pairs(store, round_, lambda request: "I do not know.")
    sql = "select chosen_id, rejected_id from pairs where round_id = ? order by position"
    assert store.rows(sql, 2) == store.rows(sql, 1) != []
    assert problem_view(store, 2, PROBLEMS[0].id).programs[0].samples == 2
    score_problems(store, store.round(1), ignore_events)  # a later round must not have changed what the first says
    build_round_pairs(store, store.round(1), ignore_events)
    assert verify_store(store) == [] and count_pooled(store, store.round(1)) == 0
    marks = "select excluded from pairs where round_id = ? order by position"
    assert store.rows(marks, 2) == store.rows(marks, 1) == [{"excluded": 1}, {"excluded": 0}]


def test_observations_are_asked_for_once(tmp_path: Path) -> None:
    settings = change_settings(SETTINGS, {"sampling.prompt": "observation", "sampling.max_observation_attempts": 1})
    given = "Observation 1:\nDouble it.\nObservation 2:\nAdd it to itself."
    answers = {"t/double": given, "t/other": "I do not know."}
    asked: list[list[str]] = []
    with Store(tmp_path / "conself.db") as store:
        for changed in (settings, settings, change_settings(settings, {"pairs.pool_rounds": False})):
            round_ = start_round(store, changed, PROBLEMS)
            sampler = run_to_pairs(store, round_, lambda request: answers.get(request.key, answer("n * 2")))
            asked.append(sorted(set(sampler.sampled) & set(answers)))
        sql = "select text from observations where problem_id = 't/double' and round_id = ? order by number"
        texts = [[row["text"] for row in store.rows(sql, number)] for number in (1, 2)]
    assert asked == [["t/double", "t/other"], ["t/other"], ["t/double", "t/other"]], "again only where there were none"
    assert texts == [["Double it.", "Add it to itself."]] * 2


def _open(store: Store, settings: Settings, limit: int = 1) -> RoundInfo:
    return open_round(store, Request(limit=limit, benchmarks=(), trains=False, settings=settings), make_sandbox)[0]


def _finish(store: Store, round_: RoundInfo) -> None:
    """Finish a round with one sample of each problem."""
    prompt = store.ensure_prompt("p", [1])
    for id in store.round_problem_ids(round_.id):
        row = {"id": f"{round_.id}/{id}", "round_id": round_.id, "problem_id": id, "observation": 0, "number": 0}
        text = {"prompt_id": prompt, "text": "", "token_ids": "[]", "finish": "fence", "seed": 0}
        store.insert_sample(row | text | {"program_id": None, "mean_nll": None, "mean_entropy_bits": None})
    store.finish_round(round_.id)


def test_later_rounds_sample_less_if_the_settings_say_so(tmp_path: Path) -> None:
    settings = change_settings(LAPTOP, {"pairs.pool_rounds": True, "pairs.later_programs": 2})
    alone = change_settings(LAPTOP, {"pairs.pool_rounds": False})
    with Store(tmp_path / "conself.db") as store:
        rounds = []
        for changed, limit in ((settings, 1), (settings, 1), (settings, 2), (alone, 1)):
            rounds.append(_open(store, changed, limit))
            _finish(store, rounds[-1])
        drawn = [store.round_problem_ids(round_.id) for round_ in rounds]
    found = [round_.settings.sampling.programs_per_observation for round_ in rounds]
    assert found == [5, 2, 5, 5], "not if a problem has no votes yet, and not without pooling"
    assert [round_.seed for round_ in rounds] == [0, 1, 2, 3], "with one seed, the same programs would vote twice"
    assert drawn[0] == drawn[1] != drawn[3], "the same draw of the limit, so that its problems have votes"
    first, second = rounds[:2]
    experiment = Experiment("e", (arm := Arm("two rounds", settings, rounds=2),), (0,), (), limit=1)
    inputs = ExperimentInputs(first.model_sha256, "", 1)
    assert experiment.holds(first, arm, inputs) and experiment.holds(second, arm, inputs)
    assert not experiment.holds(dataclasses.replace(second, settings=alone), arm, inputs)


def test_the_same_command_continues_a_later_round(tmp_path: Path) -> None:
    changes = {"pairs.pool_rounds": True, "pairs.later_programs": 2, "sampling.programs_per_observation": 4}
    request = Request(limit=1, benchmarks=(), trains=False, choice=SettingsChoice(changes=changes))
    with Store(tmp_path / "conself.db") as store:
        _finish(store, open_round(store, request, make_sandbox)[0])
        begun = open_round(store, request, make_sandbox)[0]
        continued = open_round(store, request, make_sandbox)[0]
        assert continued == begun and begun.settings.sampling.programs_per_observation == 2
        other = dataclasses.replace(request, choice=SettingsChoice(changes=changes | {"training.epochs": 9}))
        with pytest.raises(ConselfError, match=r"different training\.epochs"):
            open_round(store, other, make_sandbox)


def test_without_the_setting_a_round_is_alone_and_trains_further(store: Store) -> None:
    round_ = _next(store, ALONE)
    assert load_evidence(store, round_, PROBLEMS[0]).sampled == 4 and count_pooled(store, round_) == 0
    assert [parent_adapter(_with_base(settings, round_)) for settings in (SETTINGS, ALONE)] == [None, 5]


def _with_base(settings: Settings, round_: RoundInfo) -> RoundInfo:
    return dataclasses.replace(round_, settings=settings, base_adapter_id=5)


@pytest.mark.parametrize(
    "change",
    [
        "update rounds set model_sha256 = 'other' where id = 1",
        "update rounds set template_hash = 'other' where id = 1",
        "update rounds set state = 'abandoned' where id = 1",
        "update round_problems set plain_prompt_id = (select max(id) from prompts) where round_id = 1",
    ],
    ids=["model", "template", "abandoned", "prompt"],
)
def test_other_models_prompts_and_abandoned_rounds_do_not_vote(store: Store, change: str) -> None:
    store.ensure_prompt("z", [1])
    store.db.execute(change)
    round_ = start_round(store, SETTINGS, PROBLEMS[:1], seed=9)
    store.set_plain_prompt(2, PROBLEMS[0].id, store.ensure_prompt("own", [7]))
    assert count_pooled(store, round_) == 0 and load_evidence(store, round_, PROBLEMS[0]).sampled == 0


def test_pruning_keeps_what_later_rounds_train_on(store: Store) -> None:
    remove_token_ids(store)
    assert store.value("select count(*) from samples where tokens is not null") == 0
    _next(store)
    remove_token_ids(store)
    assert verify_store(store) == [] and count_pooled(store, store.round(2)) == 8


def test_pruned_samples_are_not_pooled(tmp_path: Path) -> None:
    with Store(tmp_path / "conself.db") as store:
        run_to_pairs(store, start_round(store, ALONE, PROBLEMS), _first)
        remove_token_ids(store)
        kept = int(store.value("select count(*) from samples where tokens is null"))
        assert 0 < kept < 8
        assert count_pooled(store, _next(store)) == kept and verify_store(store) == []
