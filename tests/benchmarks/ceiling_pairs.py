"""Write the pairs of four arms that differ only in which program of a problem is trained on: how much can labels give?

    python -m tests.benchmarks.ceiling_pairs HOME --references mbpp.jsonl --model MODEL --to FOLDER
    conself experiment tests/benchmarks/experiments/ceiling.toml --model MODEL --problems mbpp.jsonl

HOME, or a file of kept samples (`kept_samples.py`), holds a scored round that asked for programs with the plain prompt.
The problems are those with a right sample, a sample of another behaviour that compiled, and a greedy answer that
compiled. Each arm trains on one program of each of them:
- `oracle`: a right one, the likeliest if there are several. The references choose here; no round ever sees them.
- `consensus`: the one of highest consensus by the weighted voters, the likeliest if there are several; no gate.
- `random`: one that compiled, drawn without regard to behaviour. The quartiles are those of the lengths that `consensus`
  chose, and the program is in the same one as that of `consensus`.
- `own greedy`: the model's greedy answer, which can only make the model surer. It is sampled here.
The weight of a pair is 0, so that the SFT term alone trains, and the rejected program has no effect.
It prints, for each arm, the share of its programs that are right on the given inputs, and their mean length in tokens.
"""

from __future__ import annotations

import argparse
import bisect
import gzip
import json
import random
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, quantiles

from conself_local.events import ignore_events
from conself_local.home import Home
from conself_local.method.behaviour import Behaviour
from conself_local.method.chosen import ChosenRules, ScoredSample, choose
from conself_local.model_files.model_file import ModelFile, load_model_file
from conself_local.model_files.tokenizer_hash import tokenizer_hash
from conself_local.problems.problem import Problem
from conself_local.round.run import PROMPT_TOKENS
from conself_local.sampling.open_engine import open_engine
from conself_local.sampling.tuning import sampling_config
from conself_local.settings import replace_values
from conself_local.stages.benchmark import Benchmark
from conself_local.stages.evaluate import sample_and_run
from conself_local.stages.execute import limits_key, limits_of
from conself_local.stages.score import BehaviourReader, load_evidence, scored_samples
from conself_local.stages.seeds import seed_for
from conself_local.store.store import RoundInfo, Row, Store
from conself_local.training.pairs_file import PairRecord, TokenIds, write_pairs
from sandbox import Limits, Sandbox
from tests.benchmarks.grown_inputs import expected_answers, read_references
from tests.benchmarks.kept_samples import open_copy
from tests.benchmarks.pair_precision import INFORMATIVE, is_right

ARMS = ("random", "oracle", "consensus", "own greedy")
JUDGED_ON = ("held-out", "humaneval")
"""The benchmarks of the experiment, none of whose problems may be trained on."""
_TRAINING = "training"
_COMPLETE = ("end-token", "fence")
"""How an answer ends that was neither cut nor stopped because it repeated itself."""


@dataclass(frozen=True)
class Answer:
    """A program as it was sampled."""

    prompt_id: str
    text: str
    token_ids: tuple[int, ...]
    behaviour: Behaviour
    """On the given inputs."""


@dataclass(frozen=True)
class Candidates:
    """The answers of one problem that the arms choose from."""

    problem: Problem
    consensus: Answer
    oracle: Answer
    compiled: Sequence[Answer]
    """All complete answers that compiled, in the order of sampling."""


def main() -> None:
    """Write one file per arm, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("home", type=Path, help="home, or file of kept samples (kept_samples.py)")
    parser.add_argument("--references", type=Path, help="MBPP's file (default: the references of the starter pack)")
    parser.add_argument("--model", type=Path, required=True, help="GGUF file of the round")
    parser.add_argument("--to", type=Path, required=True, help="folder of the files")
    parser.add_argument("--seed", type=int, default=0, help="seed of the random arm")
    options = parser.parse_args()
    references, model = read_references(options.references), load_model_file(options.model)
    with open_copy(options.home) as store:
        round_ = store.round(1)
        if model.sha256 != round_.model_sha256 or round_.settings.sampling.prompt == "observation":
            parser.error("give the model of the round, and a round that asked with the plain prompt")
        if not set(JUDGED_ON) <= set(round_.request["benchmarks"]):
            parser.error(f"the round must leave out what {' and '.join(JUDGED_ON)} repeat: score --benchmark NAME")
        problems = [p for p in store.round_problems(1) if p.id in references]
        expected = expected_answers(store, round_, problems, references)
        offers = [
            offer for p in problems if p.id in expected and (offer := candidates_of(store, round_, p, expected[p.id]))
        ]
        greedy = greedy_answers(store, round_, model, [offer.problem for offer in offers])
        offers = [offer for offer in offers if offer.problem.id in greedy]
        edges = quantiles([len(offer.consensus.token_ids) for offer in offers])
        chosen = {
            "random": [draw_alike(offer, edges, options.seed) for offer in offers],
            "oracle": [offer.oracle for offer in offers],
            "consensus": [offer.consensus for offer in offers],
            "own greedy": [greedy[offer.problem.id] for offer in offers],
        }
        tokenizer = tokenizer_hash(model)
        print("| arm | programs | right on the given inputs | tokens |\n|---|---|---|---|")
        for arm in ARMS:
            records = [record_of(store, tokenizer, o, answer) for o, answer in zip(offers, chosen[arm], strict=True)]
            write_packed(options.to / f"ceiling-{arm.replace(' ', '-')}.jsonl.gz", records)
            rights = [
                is_right(a.behaviour, expected[o.problem.id][: len(a.behaviour)])
                for o, a in zip(offers, chosen[arm], strict=True)
            ]
            tokens = fmean(len(answer.token_ids) for answer in chosen[arm])
            print(f"| {arm} | {len(rights)} | {fmean(rights):.3f} | {tokens:.0f} |")


def candidates_of(
    store: Store, round_: RoundInfo, problem: Problem, expected: tuple[str | None, ...]
) -> Candidates | None:
    """Return what the complete answers to a problem offer; None if no arm could differ from another."""
    evidence = load_evidence(store, round_, problem)
    settings = replace_values(round_.settings, INFORMATIVE)
    samples = scored_samples(evidence, settings)
    sql = "select id, prompt_id, text, token_ids, finish from samples where round_id = ? and problem_id = ?"
    rows = {row["id"]: row for row in store.rows(sql, round_.id, problem.id)}
    whole = [s for s in samples if s.compiled and rows[s.id]["finish"] in _COMPLETE]
    right = [s for s in whole if is_right(s.behaviour, expected)]
    rules = ChosenRules(vote_weights="informative", allow_constant=False, max_programs=1)
    chosen = choose(samples, whole, rules, sampled=evidence.sampled)
    if not right or not chosen or all(s.behaviour == right[0].behaviour for s in whole):
        return None

    def answer(sample: ScoredSample) -> Answer:
        return _answer(rows[sample.id], sample.behaviour[: len(problem.inputs)])

    likeliest = max(right, key=lambda s: s.mean_logp if s.mean_logp is not None else float("-inf"))
    return Candidates(problem, answer(chosen[0]), answer(likeliest), [answer(s) for s in whole])


def draw_alike(offer: Candidates, edges: Sequence[float], seed: int) -> Answer:
    """Draw one of the compiled answers that are in the same quartile of length as that of the consensus."""
    wanted = bisect.bisect(edges, len(offer.consensus.token_ids))
    alike = [one for one in offer.compiled if bisect.bisect(edges, len(one.token_ids)) == wanted]
    return random.Random(seed_for(seed, offer.problem.id, "random program")).choice(alike)


def greedy_answers(store: Store, round_: RoundInfo, model: ModelFile, problems: Sequence[Problem]) -> dict[str, Answer]:
    """Return problem id -> the base model's greedy answer, for those that are complete and compile."""
    home = Home(store.path.parent)
    config = sampling_config(model, home.cache)
    longest = PROMPT_TOKENS + round_.settings.evaluation.max_new_tokens
    with open_engine(model, config, home.cache, longest=longest, use_gpu=True) as engine:
        sample_and_run(
            store, round_, Benchmark(_TRAINING, problems, 0), engine, {"base": None}, _make_sandbox, ignore_events,
            source=f"{config.engine}, {config.format}",
        )  # fmt: skip
    sql = """select v.problem_id, v.prompt_id, v.text, v.token_ids, v.finish, b.outputs
             from evaluation_samples v join executions e on e.program_id = v.program_id and e.limits = ?
             join behaviours b on b.id = e.behaviour_id where v.benchmark = ? and e.compiled"""
    rows = store.rows(sql, limits_key(limits_of(round_.settings)), _TRAINING)
    complete = {row["problem_id"]: row for row in rows if row["finish"] in _COMPLETE}
    readers = {problem.id: BehaviourReader(problem, round_.settings) for problem in problems}
    return {id: _answer(row, readers[id].behaviour(row["outputs"])) for id, row in complete.items()}


def _answer(row: Row, behaviour: Behaviour) -> Answer:
    return Answer(row["prompt_id"], row["text"], tuple(json.loads(row["token_ids"])), behaviour)


def _make_sandbox(limits: Limits) -> Sandbox:
    return Sandbox(limits, workers=2)


def record_of(store: Store, tokenizer: str, offer: Candidates, chosen: Answer) -> PairRecord:
    """Return the pair that trains on `chosen` alone; its rejected answer is the first one with other tokens."""
    rejected = next(one for one in offer.compiled if one.token_ids != chosen.token_ids)
    prompt = store.value("select text from prompts where id = ?", chosen.prompt_id)
    ids = TokenIds(tokenizer, store.prompt_token_ids(chosen.prompt_id), chosen.token_ids, rejected.token_ids)
    return PairRecord(prompt=prompt, chosen=chosen.text, rejected=rejected.text, weight=0.0, ids=ids)


def write_packed(target: Path, records: Sequence[PairRecord]) -> None:
    """Write a file of pairs, packed by gzip; the same pairs give the same bytes."""
    with tempfile.TemporaryDirectory() as folder:
        write_pairs(Path(folder) / "pairs.jsonl", records)
        content = (Path(folder) / "pairs.jsonl").read_bytes()
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(gzip.compress(content, mtime=0))


if __name__ == "__main__":
    main()
