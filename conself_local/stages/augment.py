"""Between execution and scores: more test inputs for every problem, as long as they tell its programs apart.

Few inputs merge programs that differ. Candidates are what the model was asked for (`ask_for_inputs`) and neighbours of the
given inputs; a candidate is kept where it splits a cluster and at least half of the valid samples answer it, since an input
that most programs refuse lies outside of the problem. It ends when two batches split nothing more, or the budget is spent.
Only test inputs come of it, never an expected output; the same round gives the same inputs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from conself_local.events import ItemStored, OnEvent, StageDone, StageStarted
from conself_local.method.behaviour import is_crashed
from conself_local.problems.literals import input_text, parse_input
from conself_local.problems.mutate import mutate_inputs
from conself_local.problems.problem import Problem
from conself_local.sampling.extract import parse_calls
from conself_local.sampling.prompts import input_messages
from conself_local.sampling.sampler import Sampler, SampleRequest
from conself_local.stages.execute import augmented_key, limits_of, store_result
from conself_local.stages.score import key_of, load_evidence
from conself_local.stages.seeds import seed_for
from conself_local.store.store import RoundInfo, Store
from sandbox import Limits, MakeSandbox, Program, ProgramResult

BATCH = 8
"""Candidates that are run together."""
MOST_BATCHES = 6
MOST_BARREN = 2
"""Batches in a row that split nothing."""
LEAST_ANSWERED = 0.5
"""Share of the valid samples that must answer a kept input."""
_CHUNK = 64
"""Problems that grow side by side; what a kill can cost."""
_ASKED = 8
_ASK_MAX_NEW_TOKENS = 256


def ask_for_inputs(store: Store, round_: RoundInfo, sampler: Sampler, adapter: Path | None, on_event: OnEvent) -> None:
    """One greedy completion a function problem; the calls in it that are literals are stored as candidates."""
    settings = round_.settings
    if not settings.grown_inputs or not settings.ask_for_inputs:
        return
    problems = {p.id: p for p in store.round_problems(round_.id) if p.kind == "function"}
    sql = "select problem_id from asked_inputs where round_id = ?"
    asked = {row["problem_id"] for row in store.rows(sql, round_.id)}
    on_event(StageStarted("ask", len(asked), len(problems)))
    requests = (
        SampleRequest(
            problem.id,
            sampler.encode(input_messages(problem, _ASKED)).token_ids,
            0.0,
            1.0,
            _ASK_MAX_NEW_TOKENS,
            seed_for(round_.seed, problem.id, "inputs"),
            stop_at_repetition=True,
            adapter=adapter,
        )
        for problem in problems.values()
        if problem.id not in asked
    )
    done = len(asked)
    for completion in sampler.sample(requests):
        problem = problems[completion.key]
        texts = [
            input_text(call)
            for call in parse_calls(completion.text, problem.entry_point)
            if _is_alike(call, problem.inputs)
        ]
        row = {"round_id": round_.id, "problem_id": problem.id, "texts": json.dumps(list(dict.fromkeys(texts)))}
        store.db.table("asked_inputs").insert(row)
        done += 1
        on_event(ItemStored("ask", done, len(problems), problem.id))


def _is_alike(call: tuple[object, ...], given: Sequence[object]) -> bool:
    """As many arguments as a given call has, each of a type that stands there."""
    for one in given:
        if (
            isinstance(one, tuple)
            and len(one) == len(call)
            and all(type(a) is type(b) for a, b in zip(call, one, strict=True))
        ):
            return True
    return False


def augment_inputs(store: Store, round_: RoundInfo, make_sandbox: MakeSandbox, on_event: OnEvent) -> None:
    """Every problem that has not grown yet; stores the kept inputs and what the programs answered to them."""
    if not round_.settings.grown_inputs:
        return
    limits = limits_of(round_.settings)
    total = int(store.value("select count(*) from round_problems where round_id = ?", round_.id))
    sql = "select problem_id from round_problems where round_id = ? and grown is null order by position"
    pending = [row["problem_id"] for row in store.rows(sql, round_.id)]
    done = total - len(pending)
    on_event(StageStarted("grow", done, total))
    for start in range(0, len(pending), _CHUNK):
        augmentations = [
            _Augmentation.begin(store, round_, store.problem(id)) for id in pending[start : start + _CHUNK]
        ]
        for batch in range(MOST_BATCHES):
            _run_batch(
                [augmentation for augmentation in augmentations if augmentation.active], batch, limits, make_sandbox
            )
        for augmentation in augmentations:
            _store_augmentation(store, round_, augmentation, limits)
            done += 1
            on_event(ItemStored("grow", done, total, augmentation.problem.id))
    kept, grew = store.db.execute(
        "select coalesce(sum(grown), 0), coalesce(sum(grown > 0), 0) from round_problems where round_id = ?",
        [round_.id],
    ).fetchone()
    summary = f"{kept} more test inputs for {grew} of {total} problems, each of which tells programs apart"
    store.finish_stage(round_.id, "grow", summary)
    on_event(StageDone("grow", summary))


@dataclass
class _KeptInput:
    value: object
    results: dict[str, ProgramResult]
    at: int
    """The place of the input in the batch that was run."""


class _Augmentation:
    """One problem while it grows: its valid programs, the candidates, and which programs are told apart so far."""

    def __init__(
        self,
        problem: Problem,
        round_: RoundInfo,
        codes: dict[str, str],
        weights: dict[str, int],
        behaviours: dict[str, tuple[str | None, ...]],
        candidates: list[object],
    ) -> None:
        self.problem = problem
        self.codes = codes
        self.kept: list[_KeptInput] = []
        self.active = len(codes) > 1 and bool(candidates)
        self._barren = 0
        self._settings = round_.settings
        self._weights = weights
        self._behaviours = behaviours
        self._candidates = candidates

    @classmethod
    def begin(cls, store: Store, round_: RoundInfo, problem: Problem) -> _Augmentation:
        evidence = load_evidence(store, round_, problem)
        codes: dict[str, str] = {}
        weights: dict[str, int] = {}
        behaviours: dict[str, tuple[str | None, ...]] = {}
        for row, behaviour in zip(evidence.rows, evidence.behaviours, strict=True):
            if not is_crashed(behaviour):
                codes[row["program_id"]] = row["code"]
                behaviours[row["program_id"]] = behaviour
                weights[row["program_id"]] = weights.get(row["program_id"], 0) + 1
        texts = store.value(
            "select texts from asked_inputs where round_id = ? and problem_id = ?", round_.id, problem.id
        )
        given = {input_text(one) for one in problem.inputs}
        asked: list[object] = [parse_input(text) for text in json.loads(texts or "[]") if text not in given]
        made = (
            mutate_inputs(problem.inputs, BATCH * MOST_BATCHES, f"{round_.seed}/{problem.id}") if len(codes) > 1 else []
        )
        candidates = {input_text(one): one for one in [*asked, *made]}
        return cls(problem, round_, codes, weights, behaviours, list(candidates.values()))

    def batch(self, number: int) -> list[object]:
        return self._candidates[number * BATCH : (number + 1) * BATCH]

    def programs(self, number: int) -> Iterator[Program]:
        for id, code in self.codes.items():
            yield Program(id, code, self.problem.kind, self.problem.entry_point, self.batch(number))

    def take(self, number: int, results: dict[str, ProgramResult]) -> None:
        """Keep the inputs of a batch that split clusters, the one that splits most first."""
        left = dict(enumerate(self.batch(number)))
        answers = {
            at: {id: key_of(result.outputs[at].text, self.problem, self._settings) for id, result in results.items()}
            for at in left
        }
        before = len(self.kept)
        while left and len(self.kept) < self._settings.grown_inputs:
            best = max(left, key=lambda at: (self._clusters(answers[at]), -at))
            if self._clusters(answers[best]) <= len(set(self._behaviours.values())):
                break
            value = left.pop(best)
            if self._answered(answers[best]) >= LEAST_ANSWERED:
                self.kept.append(_KeptInput(value, results, best))
                self._behaviours = {id: (*old, answers[best][id]) for id, old in self._behaviours.items()}
        told_apart = len(set(self._behaviours.values())) == len(self.codes)
        full = len(self.kept) == self._settings.grown_inputs
        self._barren = self._barren + 1 if len(self.kept) == before else 0
        self.active = self._barren < MOST_BARREN and not told_apart and not full and bool(self.batch(number + 1))

    def _clusters(self, answers: dict[str, str | None]) -> int:
        return len({(old, answers[id]) for id, old in self._behaviours.items()})

    def _answered(self, answers: dict[str, str | None]) -> float:
        return sum(self._weights[id] for id, answer in answers.items() if answer is not None) / sum(
            self._weights.values()
        )


def _run_batch(augmentations: Sequence[_Augmentation], number: int, limits: Limits, make_sandbox: MakeSandbox) -> None:
    """One batch of every problem that still grows, in one sandbox."""
    if not augmentations:
        return
    of_program = {id: augmentation for augmentation in augmentations for id in augmentation.codes}
    results: dict[str, dict[str, ProgramResult]] = {augmentation.problem.id: {} for augmentation in augmentations}
    with make_sandbox(limits) as sandbox:
        for result in sandbox.run(
            [program for augmentation in augmentations for program in augmentation.programs(number)]
        ):
            results[of_program[result.program_id].problem.id][result.program_id] = result
    for augmentation in augmentations:
        augmentation.take(number, results[augmentation.problem.id])


def _store_augmentation(store: Store, round_: RoundInfo, augmentation: _Augmentation, limits: Limits) -> None:
    with store.transaction():
        for number, kept in enumerate(augmentation.kept):
            store.db.table("grown_inputs").insert(
                {
                    "round_id": round_.id,
                    "problem_id": augmentation.problem.id,
                    "number": number,
                    "text": input_text(kept.value),
                }
            )
        for id in augmentation.codes if augmentation.kept else ():
            results = [kept.results[id] for kept in augmentation.kept]
            outputs = [result.outputs[kept.at] for result, kept in zip(results, augmentation.kept, strict=True)]
            store_result(store, augmented_key(limits, round_.id), results, outputs)
        store.db.table("round_problems").update((round_.id, augmentation.problem.id), {"grown": len(augmentation.kept)})
