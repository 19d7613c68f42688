"""Stage 4, `grow`: add test inputs to each problem, as long as they show that its programs differ.

With few inputs, different programs can have equal behaviour. Candidates are inputs that the model proposed
(`ask_for_inputs`, optional) and mutations of the given inputs (`problems/mutate.py`). A candidate is kept if it
splits a cluster and at least half of the valid samples answer it, since an input that most programs refuse is
probably not a valid input of the problem. Candidates are tried under a shorter time limit, and a program that timed
out splits nothing; the kept inputs are then run under the limits of the round. A problem is finished when two batches
in a row split nothing, when it has `augmentation.max_inputs` more inputs, when every program is alone in its cluster,
or when the candidates run out. Only test inputs are made, never an expected output; the same round gives the same
inputs.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
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
from sandbox import Limits, MakeSandbox, Program, ProgramResult, Status

BATCH = 8
"""Candidates per problem that are run together."""
MAX_BATCHES = 6
"""At most this many batches of candidates are run per problem."""
MAX_USELESS_BATCHES = 2
"""A problem gets no more inputs after this many batches in a row that split nothing."""
MIN_ANSWERED_SHARE = 0.5
"""Smallest share of the valid samples that must answer an input that is kept."""
TIMEOUT_SHARE = 1 / 3
"""The part of the round's time limit that a program has for a candidate. After the first time-out it gets no more
candidates of the batch: programs that hang on some candidate would otherwise take most of the time of this stage."""
_CHUNK = 64
"""Problems that are augmented together; at most this many are repeated after a kill."""
_PROPOSED_INPUTS = 8
"""Calls per problem that the model is asked for."""
_PROPOSAL_MAX_NEW_TOKENS = 256


def ask_for_inputs(store: Store, round_: RoundInfo, sampler: Sampler, adapter: Path | None, on_event: OnEvent) -> None:
    """Ask the model for test inputs, if the settings say so; store the usable ones as candidates.

    One greedy completion per function problem that has none yet. A call is usable if its arguments are literals and
    have the types of a given input.
    """
    settings = round_.settings
    if not settings.augmentation.max_inputs or not settings.augmentation.ask_model:
        return
    problems = {p.id: p for p in store.round_problems(round_.id) if p.kind == "function"}
    sql = "select problem_id from asked_inputs where round_id = ?"
    done_ids = {row["problem_id"] for row in store.rows(sql, round_.id)}
    on_event(StageStarted("ask", len(done_ids), len(problems)))
    requests = (
        SampleRequest(
            problem.id,
            sampler.encode(input_messages(problem, _PROPOSED_INPUTS)).token_ids,
            0.0,
            1.0,
            _PROPOSAL_MAX_NEW_TOKENS,
            seed_for(round_.seed, problem.id, "inputs"),
            stop_at_repetition=True,
            adapter=adapter,
        )
        for problem in problems.values()
        if problem.id not in done_ids
    )
    done = len(done_ids)
    for completion in sampler.sample(requests):
        problem = problems[completion.key]
        texts = [
            input_text(call)
            for call in parse_calls(completion.text, problem.entry_point)
            if _matches_types(call, problem.inputs)
        ]
        row = {"round_id": round_.id, "problem_id": problem.id, "texts": json.dumps(list(dict.fromkeys(texts)))}
        store.db.table("asked_inputs").insert(row)
        done += 1
        on_event(ItemStored("ask", done, len(problems), problem.id))


def _matches_types(call: tuple[object, ...], given: Sequence[object]) -> bool:
    """Return whether the arguments have the number and the exact types of those of a given call."""
    for one in given:
        if (
            isinstance(one, tuple)
            and len(one) == len(call)
            and all(type(a) is type(b) for a, b in zip(call, one, strict=True))
        ):
            return True
    return False


def augment_inputs(store: Store, round_: RoundInfo, make_sandbox: MakeSandbox, on_event: OnEvent) -> None:
    """Add test inputs to every problem that has not been augmented yet; do nothing if `augmentation.max_inputs` is 0.

    Stores the kept inputs, the outputs of the programs on them, and their number per problem (0: none was useful).
    Raises ConselfError if the sandbox itself fails.
    """
    if not round_.settings.augmentation.max_inputs:
        return
    limits = limits_of(round_.settings)
    of_candidates = dataclasses.replace(limits, wall_s=limits.wall_s * TIMEOUT_SHARE, max_timeouts=1)
    total = int(store.value("select count(*) from round_problems where round_id = ?", round_.id))
    sql = "select problem_id from round_problems where round_id = ? and grown is null order by position"
    pending = [row["problem_id"] for row in store.rows(sql, round_.id)]
    done = total - len(pending)
    on_event(StageStarted("grow", done, total))
    for start in range(0, len(pending), _CHUNK):
        augmentations = [_Augmentation.load(store, round_, store.problem(id)) for id in pending[start : start + _CHUNK]]
        for batch in range(MAX_BATCHES):
            _run_batch(
                [augmentation for augmentation in augmentations if augmentation.active],
                batch,
                of_candidates,
                make_sandbox,
            )
        results = _run_kept(augmentations, limits, make_sandbox)
        for augmentation in augmentations:
            _store_augmentation(store, round_, augmentation, results, limits)
            done += 1
            on_event(ItemStored("grow", done, total, augmentation.problem.id))
    counts = store.row(
        """select coalesce(sum(grown), 0) as inputs, coalesce(sum(grown > 0), 0) as problems
           from round_problems where round_id = ?""",
        round_.id,
    )
    summary = (
        f"{counts['inputs']} test inputs added to {counts['problems']} of {total} problems; "
        "each one shows that programs differ"
    )
    store.finish_stage(round_.id, "grow", summary)
    on_event(StageDone("grow", summary))


class _Augmentation:
    """One problem while inputs are added: its valid programs, their behaviours so far, and the candidates."""

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
        self.kept: list[object] = []
        """The inputs that are added."""
        self.active = len(codes) > 1 and bool(candidates)
        """Whether another batch is to be run."""
        self._useless_batches = 0
        self._settings = round_.settings
        self._weights = weights
        self._behaviours = behaviours
        self._candidates = candidates

    @classmethod
    def load(cls, store: Store, round_: RoundInfo, problem: Problem) -> _Augmentation:
        """Read the valid programs from the store and make the candidates: proposed inputs first, then mutated ones.

        A program's weight is the number of its samples. With fewer than two programs nothing can be split.
        """
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
        proposed: list[object] = [parse_input(text) for text in json.loads(texts or "[]") if text not in given]
        mutated = (
            mutate_inputs(problem.inputs, BATCH * MAX_BATCHES, f"{round_.seed}/{problem.id}") if len(codes) > 1 else []
        )
        candidates = {input_text(one): one for one in [*proposed, *mutated]}
        return cls(problem, round_, codes, weights, behaviours, list(candidates.values()))

    def batch(self, number: int) -> list[object]:
        """Return at most `BATCH` candidates; none past the end."""
        return self._candidates[number * BATCH : (number + 1) * BATCH]

    def programs(self, inputs: Sequence[object]) -> Iterator[Program]:
        """Yield every valid program with these inputs."""
        for id, code in self.codes.items():
            yield Program(id, code, self.problem.kind, self.problem.entry_point, inputs)

    def take(self, number: int, results: dict[str, ProgramResult]) -> None:
        """Keep the inputs of a batch that split clusters, the one that splits most first; then decide on `active`."""
        left = dict(enumerate(self.batch(number)))
        answers = {
            i: {
                id: key_of(result.outputs[i].text, self.problem, self._settings)
                for id, result in results.items()
                if result.outputs[i].status is not Status.TIMEOUT
            }
            for i in left
        }
        before = len(self.kept)
        while left and len(self.kept) < self._settings.augmentation.max_inputs:
            best = max(left, key=lambda i: (self._clusters(answers[i]), -i))
            if self._clusters(answers[best]) <= len(set(self._behaviours.values())):
                break
            value = left.pop(best)
            if self._answered_share(answers[best]) >= MIN_ANSWERED_SHARE:
                self.kept.append(value)
                self._behaviours = {id: (*old, answers[best].get(id)) for id, old in self._behaviours.items()}
        all_differ = len(set(self._behaviours.values())) == len(self.codes)
        full = len(self.kept) == self._settings.augmentation.max_inputs
        self._useless_batches = self._useless_batches + 1 if len(self.kept) == before else 0
        useful = self._useless_batches < MAX_USELESS_BATCHES
        self.active = useful and not all_differ and not full and bool(self.batch(number + 1))

    def _clusters(self, answers: dict[str, str | None]) -> int:
        """Return how many clusters there would be with these answers to one more input.

        A program without an answer, because it timed out, stays in its cluster.
        """
        split = {(self._behaviours[id], answer) for id, answer in answers.items()}
        return len(split) + len(set(self._behaviours.values()) - {old for old, _ in split})

    def _answered_share(self, answers: dict[str, str | None]) -> float:
        """Return the share of the valid samples whose program answers, in [0, 1]."""
        return sum(self._weights[id] for id, answer in answers.items() if answer is not None) / sum(
            self._weights.values()
        )


def _run_batch(augmentations: Sequence[_Augmentation], number: int, limits: Limits, make_sandbox: MakeSandbox) -> None:
    """Run one batch of every problem given, in one sandbox."""
    if not augmentations:
        return
    by_program = {id: augmentation for augmentation in augmentations for id in augmentation.codes}
    results: dict[str, dict[str, ProgramResult]] = {augmentation.problem.id: {} for augmentation in augmentations}
    with make_sandbox(limits) as sandbox:
        for result in sandbox.run(
            [program for augmentation in augmentations for program in augmentation.programs(augmentation.batch(number))]
        ):
            results[by_program[result.program_id].problem.id][result.program_id] = result
    for augmentation in augmentations:
        augmentation.take(number, results[augmentation.problem.id])


def _run_kept(
    augmentations: Sequence[_Augmentation], limits: Limits, make_sandbox: MakeSandbox
) -> dict[str, ProgramResult]:
    """Run every valid program on the kept inputs of its problem, and return the results by program id."""
    programs = [program for one in augmentations if one.kept for program in one.programs(one.kept)]
    if not programs:
        return {}
    with make_sandbox(limits) as sandbox:
        return {result.program_id: result for result in sandbox.run(programs)}


def _store_augmentation(
    store: Store,
    round_: RoundInfo,
    augmentation: _Augmentation,
    results: Mapping[str, ProgramResult],
    limits: Limits,
) -> None:
    """Store the kept inputs of one problem, one execution per program on them, and their number, in one transaction."""
    with store.transaction():
        for number, kept in enumerate(augmentation.kept):
            store.db.table("grown_inputs").insert(
                {
                    "round_id": round_.id,
                    "problem_id": augmentation.problem.id,
                    "number": number,
                    "text": input_text(kept),
                }
            )
        for id in augmentation.codes if augmentation.kept else ():
            store_result(store, augmented_key(limits, round_.id), results[id])
        store.db.table("round_problems").update((round_.id, augmentation.problem.id), {"grown": len(augmentation.kept)})
