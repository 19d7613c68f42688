"""Measure how often the chosen program of a pair is right and the rejected one wrong, for each rule of selection.

    python -m tests.benchmarks.pair_precision --write validation validation.jsonl    # a split to train on, without references
    conself --home HOME score --problems validation.jsonl --benchmark humaneval --seed 7
    python -m tests.benchmarks.pair_precision HOME [--references mbpp.jsonl]

The rules are limits of the normalised entropy, limits of the largest cluster's share, whether a program that answers
every input alike may be chosen, the gate by votes of all samples, weighted voters, the vote margin as weight, and several
chosen programs; the first row has the settings of the round, the last ones combine the rules of votes. For every rule it
prints the problems that give pairs, the share of them whose first chosen program is right on every input, given and
augmented, the pairs, the share of pairs whose chosen program is right, the same share with the pairs weighted as in
training, and the share whose rejected program is wrong.
The references (of the starter pack, or of MBPP's file) judge here; no round ever sees them.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from conself_local.method.behaviour import is_crashed
from conself_local.method.chosen import ScoredSample
from conself_local.method.curriculum import ProblemScore, select_learnable
from conself_local.method.pairs import Pair
from conself_local.problems.formats.own import record_of
from conself_local.problems.load import load_starter
from conself_local.settings import Settings, replace_values
from conself_local.stages.score import ProblemEvidence, pairs_from
from tests.benchmarks.grown_inputs import judged_evidence, read_references
from tests.benchmarks.kept_samples import open_copy

Answers = Mapping[str, tuple[str | None, ...]]


def main() -> None:
    """Print the table of all rules, or write a split as training problems (`--write`)."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("home", type=Path, nargs="?", help="home, or file of kept samples (kept_samples.py)")
    parser.add_argument("--references", type=Path, help="MBPP's file (default: the references of the starter pack)")
    parser.add_argument("--write", nargs=2, metavar=("SPLIT", "FILE"))
    options = parser.parse_args()
    if options.write:
        _write(*options.write)
        return
    references = read_references(options.references)
    with open_copy(options.home) as store:
        round_ = store.round(1)
        evidence, expected = judged_evidence(store, round_, references)
    rights = [is_right(b, expected[one.problem_id]) for one in evidence for b in one.behaviours]
    if not rights:
        parser.error("no problem of this home has samples and a reference")
    print(f"{len(evidence)} problems, a sample is right in {sum(rights) / len(rights):.3f}")
    print(
        "| rule | problems | right there | pairs | chosen right | weighted | rejected wrong |\n|---|---|---|---|---|---|---|"
    )
    for name, settings in rules_of(round_.settings):
        _print(name, settings, evidence, expected)


def _write(split: str, path: str) -> None:
    problems = [p for p in load_starter() if p.split == split]
    records = [record_of(dataclasses.replace(p, split="train", reference=None)) for p in problems]
    Path(path).write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")


GATE: dict[str, Any] = {"pairs.min_vote_share": 0.333, "pairs.max_cluster_share": 0.9}
INFORMATIVE: dict[str, Any] = {"pairs.vote_weights": "informative", "pairs.allow_constant_chosen": False}
MARGIN: dict[str, Any] = {"pairs.weight": "margin"}
LEAD: dict[str, Any] = {"pairs.min_vote_margin": 0.333}
_VOTE_RULES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("gate by votes", GATE),
    ("gate by votes, no constant chosen", GATE | {"pairs.allow_constant_chosen": False}),
    ("weighted voters, no constant chosen", INFORMATIVE),
    ("weighted voters, gate by votes", INFORMATIVE | GATE),
    ("vote margin of at least 0.333", LEAD),
    ("weighted voters, vote margin of at least 0.2", INFORMATIVE | {"pairs.min_vote_margin": 0.2}),
    ("weighted voters, vote margin of at least 0.333", INFORMATIVE | LEAD),
    ("weighted voters, vote margin of at least 0.5", INFORMATIVE | {"pairs.min_vote_margin": 0.5}),
    (
        "weighted voters, vote margin of at least 0.333, share below 0.9",
        INFORMATIVE | LEAD | {"pairs.max_cluster_share": 0.9},
    ),
    ("vote margin as weight", MARGIN),
    ("weighted voters, gate by votes, vote margin", INFORMATIVE | GATE | MARGIN),
    (
        "the same, up to 4 chosen programs",
        INFORMATIVE | GATE | MARGIN | {"pairs.chosen_programs": 4, "pairs.max_pairs": 4},
    ),
)


def rules_of(settings: Settings) -> list[tuple[str, Settings]]:
    """Return every rule by its name, as changes of the round's settings; the first one changes nothing."""
    everything = replace_values(
        settings,
        {
            "selection.entropy_threshold": None,
            "pairs.min_cluster_share": 0.0,
            "pairs.allow_constant_chosen": True,
            "pairs.vote_weights": "equal",
            "pairs.min_vote_share": 0.0,
            "pairs.min_vote_margin": 0.0,
            "pairs.max_cluster_share": None,
            "pairs.weight": "consensus",
            "pairs.chosen_programs": None,
        },
    )
    found = [("as the round", settings), ("all informative", everything)]
    for normalisation, threshold in itertools.product(("min-max", "log2"), (0.3, 0.5, 0.7)):
        changed = {"selection.entropy_normalisation": normalisation, "selection.entropy_threshold": threshold}
        found.append((f"{normalisation} below {threshold}", replace_values(everything, changed)))
    for constant, share in itertools.product((True, False), (0.0, 0.3, 0.4, 0.5, 0.6)):
        if share or not constant:
            name = f"cluster share of at least {share}" + ("" if constant else ", no constant chosen")
            changed = {"pairs.min_cluster_share": share, "pairs.allow_constant_chosen": constant}
            found.append((name, replace_values(everything, changed)))
    return found + [(name, replace_values(everything, changes)) for name, changes in _VOTE_RULES]


def _print(name: str, settings: Settings, evidence: list[ProblemEvidence], expected: Answers) -> None:
    scores: dict[str, ProblemScore] = {one.problem_id: one.score() for one in evidence}
    selected = set(
        select_learnable(
            scores,
            entropy_normalisation=settings.selection.entropy_normalisation,
            entropy_threshold=settings.selection.entropy_threshold,
            max_crash_rate=settings.selection.max_crash_rate,
        )
    )
    pairs = {one.problem_id: pairs_from(one, settings, 0) for one in evidence if one.problem_id in selected}
    print(row(name, {id: some for id, some in pairs.items() if some}, expected))


def row(name: str, pairs: Mapping[str, Sequence[Pair]], expected: Answers) -> str:
    """Return the row of a rule from its pairs by problem, at least one pair each."""
    if not pairs:
        return f"| {name} | 0 | - | 0 | - | - | - |"
    rights = [
        (p.weight, _right(p.chosen, expected[id]), _right(p.rejected, expected[id])) for id in pairs for p in pairs[id]
    ]
    firsts = [_right(some[0].chosen, expected[id]) for id, some in pairs.items()]
    total = sum(weight for weight, _, _ in rights)
    weighted = f"{sum(weight * chosen for weight, chosen, _ in rights) / total:.3f}" if total else "-"
    chosen, rejected = (sum(column) / len(rights) for column in list(zip(*rights, strict=True))[1:])
    return (
        f"| {name} | {len(pairs)} | {sum(firsts) / len(firsts):.3f} | {len(rights)} | {chosen:.3f} | {weighted} | "
        f"{1 - rejected:.3f} |"
    )


def _right(sample: ScoredSample, expected: tuple[str | None, ...]) -> bool:
    return is_right(sample.behaviour, expected)


def is_right(behaviour: tuple[str | None, ...], expected: tuple[str | None, ...]) -> bool:
    """Return whether the behaviour equals the reference's on every input that the reference answers."""
    return not is_crashed(behaviour) and all(
        want is None or got == want for got, want in zip(behaviour, expected, strict=True)
    )


if __name__ == "__main__":
    main()
