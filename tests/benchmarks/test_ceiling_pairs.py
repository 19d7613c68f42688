"""The arms of the ceiling train on one program of the same problems, and differ only in which one it is."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

from conself_local.problems.problem import Problem
from conself_local.stages.score import load_evidence
from conself_local.store.store import Store
from conself_local.training.pairs_file import read_pairs
from tests.benchmarks.ceiling_pairs import Answer, Candidates, candidates_of, draw_alike, record_of, write_packed
from tests.benchmarks.kept_samples import open_copy
from tests.fakes.home_of_rounds import make_home

PROBLEM = Problem("p", "Add.", "function", ((1,),), "train", "add")


def _answer(length: int, tag: int = 0) -> Answer:
    return Answer("q", f"{length} {tag}", (tag, *range(length)), (str(tag),))


def test_a_random_program_is_as_long_as_that_of_the_consensus() -> None:
    """With the edges 10, 20 and 30, a consensus of 16 tokens allows 10 to 19 tokens and all behaviours."""
    compiled = [_answer(length, tag) for tag in (0, 1) for length in (3, 9, 18, 19, 29, 40)]
    offer = Candidates(PROBLEM, _answer(15), _answer(3), compiled)
    drawn = {draw_alike(offer, (10, 20, 30), seed) for seed in range(40)}
    assert {len(one.token_ids) for one in drawn} == {10, 19}
    assert {one.behaviour for one in drawn} == {("0",), ("1",)}
    assert draw_alike(offer, (10, 20, 30), 5) == draw_alike(offer, (10, 20, 30), 5)


def test_the_oracle_is_right_and_the_consensus_has_most_votes(tmp_path: Path) -> None:
    home = make_home(tmp_path / "home")
    offers = 0
    with open_copy(home.path) as store:
        round_ = store.round(1)
        for problem in store.round_problems(1):
            for row in store.rows("select distinct program_id from samples where problem_id = ?", problem.id):
                expected = _behaviour_of(store, problem, row["program_id"])
                offer = candidates_of(store, round_, problem, expected) if expected else None
                if offer is None:
                    continue
                offers += 1
                assert offer.oracle.behaviour == expected[: len(problem.inputs)]
                assert {offer.oracle, offer.consensus} <= set(offer.compiled)
                record = record_of(store, "0" * 32, offer, offer.oracle)
                assert record.weight == 0 and record.chosen == offer.oracle.text != record.rejected
        write_packed(tmp_path / "new" / "f.jsonl.gz", [record])
    assert offers > 1
    assert [one.chosen for one in read_pairs(tmp_path / "new" / "f.jsonl.gz")] == [record.chosen]
    assert json.loads(gzip.decompress((tmp_path / "new" / "f.jsonl.gz").read_bytes()))["weight"] == 0


def _behaviour_of(store: Store, problem: Problem, program_id: str | None) -> tuple[str | None, ...]:
    """Return the behaviour of one sampled program on all inputs, as if it were the reference; () if it does not run."""
    evidence = load_evidence(store, store.round(1), problem)
    found = [b for r, b in zip(evidence.rows, evidence.behaviours, strict=True) if r["program_id"] == program_id]
    return found[0] if found and None not in found[0] else ()
