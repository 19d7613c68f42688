"""Measure how many useful pairs adaptive sampling gives for the same effort, compared with a fixed number of samples.

    conself --home HOME score --problems mbpp.jsonl --model MODEL      # samples and runs the programs; takes long
    python -m tests.benchmarks.useful_pairs HOME --references mbpp.jsonl --limit 100
    python -m tests.benchmarks.useful_pairs HOME --limit 120           # a home with problems of the starter pack

Nothing is sampled: adaptive sampling decides on the stored samples of a round with a fixed number, in the order in which
it would have taken them, so both ways see the same samples. The cost is the number of tokens of the samples taken;
prompts are not counted. With `--full N`, fixed sampling takes the first N of the stored samples, and what adaptive
sampling saves is given to open problems as far as more are stored; else nothing is given away.
A pair is useful if its chosen program is right and its rejected one wrong, on every input, given and added. The added
inputs are those of the whole round. Pairs are built by the rules of the round, and by the weighted voters with two gates.
The references (of the starter pack, or of MBPP's file) judge here; no round ever sees them. The training problems of the
starter pack have none, so its other splits are sampled as training problems (`pair_precision --write`).
Problems that are not sampled in full are left out. It works on a copy of the store.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from conself_local.method.adaptive import AdaptiveRules, plan_samples
from conself_local.method.behaviour import Behaviour
from conself_local.method.curriculum import select_learnable
from conself_local.method.pairs import Pair
from conself_local.problems.load import sample_indices
from conself_local.settings import Settings, replace_values
from conself_local.stages.adaptive import first_behaviours, ordered_places
from conself_local.stages.score import ProblemEvidence, load_evidence, pairs_from
from conself_local.store.store import TOKENS, RoundInfo, Store
from tests.benchmarks.grown_inputs import expected_answers, read_references
from tests.benchmarks.kept_samples import open_copy
from tests.benchmarks.pair_precision import GATE, INFORMATIVE, LEAD, MARGIN, Answers, is_right

ERRORS = (0.1, 0.2, 0.33)
_HEAD = (
    "| pairs by | sampling | samples | tokens | problems | pairs | chosen right | rejected wrong | useful "
    "| useful per million tokens | against fixed |\n|---|---|---|---|---|---|---|---|---|---|---|"
)


@dataclass(frozen=True)
class Stored:
    """The samples of one problem."""

    evidence: ProblemEvidence
    first: Sequence[Behaviour]
    """Behaviours on the given inputs, in the order of adaptive sampling."""
    tokens: Mapping[tuple[int, int], int]
    """Tokens by (observation, index)."""


@dataclass(frozen=True)
class Yield:
    """What a way of sampling gives, and what it costs."""

    samples: int
    tokens: int
    problems: int
    """Problems that give pairs."""
    pairs: int
    chosen_right: int
    rejected_wrong: int
    useful: int

    @property
    def per_million(self) -> float:
        """Useful pairs per million tokens."""
        return 1e6 * self.useful / self.tokens if self.tokens else 0.0


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("home", type=Path, help="home, or file of kept samples (kept_samples.py)")
    parser.add_argument("--references", type=Path, help="MBPP's file (default: the references of the starter pack)")
    parser.add_argument("--round", type=int, default=1)
    parser.add_argument("--limit", type=int, help="draw this many problems")
    parser.add_argument("--seed", type=int, default=0, help="seed of the problems that are drawn")
    parser.add_argument("--full", type=int, help="number of samples of fixed sampling (default: all that are stored)")
    parser.add_argument("--error", type=float, action="append", help="error of each test; may be given several times")
    options = parser.parse_args()
    references = read_references(options.references)
    with open_copy(options.home) as store:
        round_ = store.round(options.round)
        problems = [p for p in store.round_problems(round_.id) if p.id in references]
        if options.limit and options.limit < len(problems):
            drawn = sample_indices(len(problems), options.limit, options.seed)
            problems = [p for i, p in enumerate(problems) if i in drawn]
        expected = expected_answers(store, round_, problems, references)
        found = [load_stored(store, round_, p.id) for p in problems if p.id in expected]
    per_problem = round_.settings.sampling.samples_per_problem
    stored = [one for one in found if len(one.first) == per_problem]
    if not stored:
        parser.error("no problem of this home has all its samples and a reference")
    print(f"{len(stored)} problems with {per_problem} samples each\n\n{_HEAD}")
    for name, settings in _settings(round_).items():
        full = min(options.full or per_problem, per_problem)
        for line in table_lines(name, stored, settings, expected, full, options.error or ERRORS):
            print(line)


def load_stored(store: Store, round_: RoundInfo, problem_id: str) -> Stored:
    """Read the samples of one problem; those of earlier rounds do not count."""
    alone = dataclasses.replace(round_, settings=replace_values(round_.settings, {"pairs.pool_rounds": False}))
    problem = store.problem(problem_id)
    sql = f"select observation, number, {TOKENS} as tokens from samples where round_id = ? and problem_id = ?"
    tokens = {(r["observation"], r["number"]): r["tokens"] for r in store.rows(sql, round_.id, problem_id)}
    return Stored(load_evidence(store, alone, problem), first_behaviours(store, alone, problem), tokens)


def _settings(round_: RoundInfo) -> dict[str, Settings]:
    votes = INFORMATIVE | MARGIN | {"pairs.min_cluster_share": 0.0, "selection.entropy_threshold": None}
    gates = {"as the round": {}, "gate by votes": votes | GATE, "gate by the vote margin": votes | LEAD}
    return {name: replace_values(round_.settings, changes) for name, changes in gates.items()}


def table_lines(
    name: str,
    stored: Sequence[Stored],
    settings: Settings,
    expected: Answers,
    full: int,
    errors: Sequence[float] = ERRORS,
) -> list[str]:
    """Return the rows of one rule for pairs: fixed sampling first, then adaptive sampling with each error."""
    fixed = measure(stored, [full] * len(stored), settings, expected)
    lines = [_line(name, f"fixed {full}", fixed, fixed)]
    cap = settings.sampling.samples_per_problem
    for error in errors:
        counts = plan_samples([one.first for one in stored], AdaptiveRules(full, max(full, cap), error))
        lines.append(_line(name, f"adaptive, error {error}", measure(stored, counts, settings, expected), fixed))
    return lines


def measure(stored: Sequence[Stored], counts: Sequence[int], settings: Settings, expected: Answers) -> Yield:
    """Return what the first samples of each problem give, `counts` of them, in the order of adaptive sampling."""
    taken = [first_samples(one, ordered_places(settings, n)) for one, n in zip(stored, counts, strict=True)]
    selected = set(
        select_learnable(
            {one.problem_id: one.score() for one in taken},
            entropy_normalisation=settings.selection.entropy_normalisation,
            entropy_threshold=settings.selection.entropy_threshold,
            max_crash_rate=settings.selection.max_crash_rate,
        )
    )
    built = [(one.problem_id, pairs_from(one, settings, 0)) for one in taken if one.problem_id in selected]
    judged = [_judge(pair, expected[id]) for id, pairs in built for pair in pairs]
    return Yield(
        samples=sum(counts),
        tokens=sum(one.tokens[p] for one, n in zip(stored, counts, strict=True) for p in ordered_places(settings, n)),
        problems=sum(bool(pairs) for _, pairs in built),
        pairs=len(judged),
        chosen_right=sum(chosen for chosen, _ in judged),
        rejected_wrong=sum(wrong for _, wrong in judged),
        useful=sum(chosen and wrong for chosen, wrong in judged),
    )


def first_samples(one: Stored, places: Sequence[tuple[int, int]]) -> ProblemEvidence:
    """Return the evidence as it would be with only the samples of these places."""
    wanted, evidence = set(places), one.evidence
    kept = [i for i, row in enumerate(evidence.rows) if (row["observation"], row["number"]) in wanted]
    rows, behaviours = [evidence.rows[i] for i in kept], [evidence.behaviours[i] for i in kept]
    return ProblemEvidence(evidence.problem_id, rows, behaviours, len(places))


def _judge(pair: Pair, expected: tuple[str | None, ...]) -> tuple[bool, bool]:
    return is_right(pair.chosen.behaviour, expected), not is_right(pair.rejected.behaviour, expected)


def _line(name: str, sampling: str, found: Yield, fixed: Yield) -> str:
    chosen, wrong = (
        f"{count / found.pairs:.3f}" if found.pairs else "-" for count in (found.chosen_right, found.rejected_wrong)
    )
    ratio = f"{found.per_million / fixed.per_million:.2f}" if fixed.per_million else "-"
    return (
        f"| {name} | {sampling} | {found.samples} | {found.tokens} | {found.problems} | {found.pairs} | {chosen} "
        f"| {wrong} | {found.useful} | {found.per_million:.0f} | {ratio} |"
    )


if __name__ == "__main__":
    main()
