"""The real engine samples an evaluation's answers once, and scores them as it sampled them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from conself_local.adapters.formats import write_gguf
from conself_local.events import ignore_events
from conself_local.hashes import file_sha256
from conself_local.model_files.bundled import bundled_model
from conself_local.model_files.model_file import load_model_file
from conself_local.problems.load import load_starter
from conself_local.round.verify import verify_store
from conself_local.sampling.engine_process import LlamaProcess
from conself_local.settings import LAPTOP, change_settings
from conself_local.stages.benchmark import Benchmark
from conself_local.stages.evaluate import evaluate
from conself_local.store.store import RoundInfo, Store
from sandbox import Limits, Sandbox
from tests.fakes.random_adapter import random_adapter

pytestmark = pytest.mark.model
SETTINGS = change_settings(
    LAPTOP, {"evaluation.samples": 2, "evaluation.max_new_tokens": 32, "evaluation.ranking_programs": 4}
)


def _start(store: Store, sha256: str, adapter: Path, base_adapter_id: int | None) -> RoundInfo:
    """Store a round with an adapter, as if it had been trained."""
    round_ = store.start_round(
        seed=3,
        settings=SETTINGS,
        model_path=bundled_model(),
        model_sha256=sha256,
        template_hash="t",
        base_adapter_id=base_adapter_id,
        versions={},
        request={},
        problems=[],
    )
    row = {
        "name": str(round_.id),
        "round_id": round_.id,
        "parent_id": base_adapter_id,
        "peft_path": str(adapter.parent),
    }
    store.insert_adapter(row | {"path": str(adapter), "sha256": file_sha256(adapter)})
    return round_


def test_two_rounds_of_a_home(tmp_path: Path) -> None:
    model = load_model_file(bundled_model())
    one, two = tmp_path / "one.gguf", tmp_path / "two.gguf"
    write_gguf(random_adapter(model, 0.01), model, one)
    write_gguf(random_adapter(model, 0.02), model, two)
    problems = [problem for problem in load_starter() if problem.id == "starter/triple"]
    benchmark = Benchmark("held-out", problems, SETTINGS.evaluation.samples)

    def make_sandbox(limits: Limits) -> Sandbox:
        return Sandbox(limits, workers=1)

    with (
        Store(tmp_path / "conself.db") as store,
        LlamaProcess(model, slots=4, context_tokens=4 * 512, threads=1) as engine,
    ):
        for round_, base, adapter in (
            (_start(store, model.sha256, one, None), None, one),
            (_start(store, model.sha256, two, 1), one, two),
        ):
            arms = {"base": base, "adapter": adapter}
            evaluate(store, round_, benchmark, engine, arms, make_sandbox, ignore_events, source="llama.cpp, original")
        answers = (
            "select text, token_ids from evaluation_samples where round_id = ? and arm = ? order by problem_id, number"
        )
        assert store.rows(answers, 2, "base") == store.rows(answers, 1, "adapter") != store.rows(answers, 1, "base")
        result = json.loads(store.value("select result from evaluations where round_id = 1"))
        assert result["ranking"]["problems"] >= 1 and 0 <= result["ranking"]["base"] <= 1
        # the log-probability of a sampled answer is that of its score (per token), up to the batch that computed it
        sql = """select s.logp, v.tokens, v.mean_nll from answer_scores s join evaluation_samples v using (answer_id)
                 where s.scorer = ? and v.round_id = 1"""
        scored = store.rows(sql, result["ranking"]["scorers"]["base"])
        assert scored and all(abs(row["logp"] / row["tokens"] + row["mean_nll"]) < 0.05 for row in scored)
        assert verify_store(store) == []
