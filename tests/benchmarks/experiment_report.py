"""Print the report of an experiment from its results alone, without a model: for results of earlier versions.

    python -m tests.benchmarks.experiment_report NAME.toml NAME.jsonl > NAME.md

An arm takes the results of equal settings, under the name that the experiment file gives it now; arms without results
are left out. With `--against ARM` it prints only the table that compares every other arm with this one.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

from conself_local.experiment.results import SeedResult, load_results
from conself_local.experiment.spec import Experiment, read_experiment
from conself_local.experiment.table import between_arms_lines, report_lines


def results_of(experiment: Experiment, results: list[SeedResult]) -> list[SeedResult]:
    """Return the results of the experiment's arms, in the order of the arms, seeds and benchmarks of its file."""
    return [
        dataclasses.replace(result, arm=arm)
        for arm in experiment.arms
        for seed in experiment.seeds
        for benchmark in experiment.benchmarks
        for result in results
        if result.is_of(arm, seed, benchmark, result.inputs)
    ]


def main() -> None:
    """Print the report as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("experiment", type=Path)
    parser.add_argument("results", type=Path)
    parser.add_argument("--against", metavar="ARM", help="the arm that the others are compared with")
    arguments = parser.parse_args()
    experiment = read_experiment(arguments.experiment)
    found = results_of(experiment, load_results(arguments.results))
    if arguments.against is None:
        print("\n".join(report_lines(experiment.name, found, experiment.weights)))
        return
    if arguments.against not in {one.arm.name for one in found}:
        parser.error(f"the results have no arm {arguments.against!r}")
    print("\n".join(between_arms_lines(found, experiment.weights, arguments.against)))


if __name__ == "__main__":
    main()
