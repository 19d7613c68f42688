"""Experiment files are checked field by field, arms share samples, and a small real experiment gives its table."""

from __future__ import annotations

import gzip
import re
from dataclasses import replace
from pathlib import Path

import pytest

from conself_local.errors import ConselfError
from conself_local.evaluation.statistics import bootstrap_over_seeds, paired_bootstrap
from conself_local.events import ignore_events
from conself_local.experiment.results import Arm, ExperimentInputs, SeedResult, append_result, load_results
from conself_local.experiment.run import run_experiment
from conself_local.experiment.spec import read_experiment
from conself_local.experiment.table import between_arms_lines, table_lines
from conself_local.hashes import file_sha256
from conself_local.home import Home
from conself_local.method.chosen import ScoredSample
from conself_local.method.pairs import random_pairs
from conself_local.round.context import ComputeOptions
from conself_local.settings import Settings, TrainingSettings
from conself_local.store.store import Store
from tests.fakes.small_round import run_conself, write_problems
from tests.fakes.tiny_model import write_tiny_model

FOLDER = Path(__file__).parents[2] / "benchmarks" / "experiments"
ARM = '[[arm]]\nname = "a"\n'


def _with_beta(beta: float) -> Settings:
    return Settings(training=TrainingSettings(beta=beta))


@pytest.mark.parametrize("name", sorted(path.stem for path in FOLDER.glob("*.toml")))
def test_the_experiments_of_the_repository_are_read(name: str) -> None:
    experiment = read_experiment(FOLDER / f"{name}.toml")
    assert experiment.name == name and len({arm.name for arm in experiment.arms}) == len(experiment.arms)
    keys = {arm.name: experiment.shared_name(arm, 0) for arm in experiment.arms}
    assert all(experiment.shared_name(arm, 1) != keys[arm.name] for arm in experiment.arms)
    if name in ("smoke", "bundled"):
        assert keys["laptop"] == keys["random pairs"]
    if name == "bundled":
        assert len(set(keys.values())) == 1, "every arm shares the samples of a seed"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "at least one"),
        ("x = 1\n" + ARM, "unknown field 'x'"),
        ('seeds = ["a"]\n' + ARM, "whole numbers"),
        ("seeds = [-1]\n" + ARM, "whole numbers from 0"),
        (f"seeds = [{10**9}]\n" + ARM, "to 999,999,999"),
        ('limit = "all"\n' + ARM, "limit must be"),
        ('benchmarks = ["exam"]\n' + ARM, "benchmarks must be"),
        (ARM + ARM, "a different name"),
        ("[[arm]]\n", "needs a name"),
        (ARM + "settings = { colour = 1 }", "arm a: unknown setting 'colour'"),
        (ARM + 'settings = { beta = "much" }', "beta must be"),
        (ARM + "rounds = 0", "rounds at least 1"),
        (ARM + "pairs = 1", "pairs must be the path of a file"),
        (ARM + 'pairs = "missing.jsonl"', "missing.jsonl cannot be read"),
        (ARM + 'pairs = "e.toml"\nrounds = 2', "arm a: an arm that trains on a file of pairs has one round"),
        ("[[arm", "cannot be read"),
    ],
)
def test_mistakes_are_named(text: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "e.toml"
    path.write_text(text)
    with pytest.raises(ConselfError, match=says):
        read_experiment(path)


def test_random_pairs_depend_only_on_the_seed_and_on_what_compiled() -> None:
    samples = [ScoredSample(str(i), 0, i, f"code {i // 2}", i != 5, ("1",), 0.5) for i in range(8)]
    pairs = random_pairs(samples, max_pairs=3, seed=1)
    assert len(pairs) == 3 and pairs == random_pairs(samples, max_pairs=3, seed=1) != random_pairs(
        samples, max_pairs=3, seed=2
    )
    assert all(p.chosen.code != p.rejected.code and p.chosen.compiled and p.rejected.compiled for p in pairs)
    assert random_pairs(samples[:2], max_pairs=3, seed=1) == []


def test_one_seed_is_the_paired_bootstrap_and_unequal_shapes_are_refused() -> None:
    base, other = [0.0, 0.2, 0.4, 1.0] * 5, [0.2, 0.2, 0.6, 0.8] * 5
    one, plain = bootstrap_over_seeds([base], [other], seed=3), paired_bootstrap(base, other, seed=3)
    assert one[0] == plain[0] and one[1:] == pytest.approx(plain[1:], abs=0.02)
    assert bootstrap_over_seeds([base] * 3, [base] * 3, seed=0) == (0.0, 0.0, 0.0)
    shapes: list[tuple[list[list[float]], list[list[float]]]] = [([], []), ([[0.1]], [[0.1, 0.2]]), ([[]], [[]])]
    for bad in shapes:
        with pytest.raises(ValueError, match="the same shape"):
            bootstrap_over_seeds(*bad, seed=0)


def _result(arm: Arm, seed: int, benchmark: str, base: tuple[float, ...], adapter: tuple[float, ...]) -> SeedResult:
    shares = {"parsed_share": 1.0, "crashed_share": 0.5, "greedy_pass_at_1": 0.5, "mean_tokens": 9.0}
    compared = {
        "base": shares,
        "adapter": shares | {"parsed_share": base[0]},
        "difference": 0.0,
        "interval_95": [0.0, 0.0],
        "gained": ["p"],
        "lost": [],
        "mcnemar_p": 1.0,
    }
    return SeedResult(
        arm,
        seed,
        benchmark,
        ExperimentInputs("m", "p", 4),
        compared,
        base,
        adapter,
        3,
        2,
        100,
        60.0,
        1,
        "a",
        {"numpy": "2"},
    )


def test_results_are_kept_line_by_line_and_summed_over_all_benchmarks(tmp_path: Path) -> None:
    arm, path = Arm("a", _with_beta(0.2), 2), tmp_path / "r.jsonl"
    results = [
        _result(arm, seed, name, base, adapter)
        for seed in (0, 1)
        for name, base, adapter in (
            ("held-out", (0.5, 0.1, 0.0), (1.0, 0.1, 0.1)),
            ("humaneval", (0.25,), (0.25,)),
            ("validation", (0.0,), (0.0,)),
        )
    ]
    assert load_results(path) == []
    for result in results:
        append_result(path, result)
    assert load_results(path) == results
    first, inputs = results[0], ExperimentInputs("m", "p", 4)
    assert first.is_of(Arm("another name", _with_beta(0.2), 2), 0, "held-out", inputs)
    assert not any(
        (
            first.is_of(Arm("a", _with_beta(0.3), 2), 0, "held-out", inputs),
            first.is_of(arm, 1, "held-out", inputs),
            first.is_of(Arm("a", _with_beta(0.2), 1), 0, "held-out", inputs),
            first.is_of(arm, 0, "validation", inputs),
            first.is_of(arm, 0, "held-out", ExperimentInputs("other", "p", 4)),
        )
    )
    rows = table_lines(results)[2:]
    assert [row.split(" | ")[1] for row in rows] == ["held-out", "humaneval", "validation", "held-out + humaneval"]
    # (0.5 + 0.1 + 0 + 0.25) / 4 before, (1 + 0.1 + 0.1 + 0.25) / 4 after; parsed (3 * 0.5 + 0.25) / 4
    assert "| 2 | 4 | 3 3 | 21.2 | 36.2 | +15.0 (" in rows[3] and "1.00 -> 0.44" in rows[3]
    path.write_text(path.read_text() + '{"arm": "a"}\n')
    with pytest.raises(ConselfError, match="line 7: not a result"):
        load_results(path)


def test_an_arm_is_compared_to_the_first_on_the_seeds_of_both() -> None:
    one, other, third = (Arm(name, _with_beta(beta)) for name, beta in (("a", 0.1), ("b", 0.2), ("c", 0.3)))
    results = [
        _result(one, 0, "held-out", (0.0, 0.0), (0.5, 0.5)),
        _result(one, 1, "held-out", (0.0, 0.0), (0.5, 0.25)),
        _result(other, 0, "held-out", (0.0, 0.0), (0.5, 0.25)),
        _result(other, 1, "held-out", (0.0, 0.0), (0.25, 0.25)),
        _result(other, 2, "held-out", (0.0, 0.0), (1.0, 1.0)),
        replace(_result(third, 0, "held-out", (0.0,), ()), compared=None),
    ]
    assert between_arms_lines(results[:2]) == []
    _, head, _, row = between_arms_lines(results)
    assert "against a" in head
    # ((0.5 + 0.25) - (0.5 + 0.5) + (0.25 + 0.25) - (0.5 + 0.25)) / 4
    assert row.startswith("| b | held-out | 2 | -12.5 (")


def test_only_the_named_arms_run_and_known_results_of_all_are_shown(tmp_path: Path) -> None:
    model = write_tiny_model(tmp_path / "m.gguf")
    arms = "".join(
        f'[[arm]]\nname = "{name}"\nsettings = {{ training.beta = {beta} }}\n'
        for name, beta in (("a", 0.1), ("b", 0.2), ("c", 0.3))
    )
    (tmp_path / "e.toml").write_text(f'model = "{model.path}"\nbenchmarks = ["held-out"]\n{arms}')
    experiment = read_experiment(tmp_path / "e.toml")
    for arm in experiment.arms[:2]:
        append_result(
            tmp_path / "r.jsonl", replace(_result(arm, 0, "held-out", (0.0,), (1.0,)), inputs=experiment.inputs())
        )

    def run(only: list[str]) -> list[str]:
        found = run_experiment(
            experiment,
            tmp_path / "out",
            ComputeOptions(1),
            lambda workers: pytest.fail("no program runs"),
            ignore_events,
            tmp_path / "r.jsonl",
            only,
        )
        return [result.arm.name for result in found]

    assert run(["a"]) == ["a", "b"] and not (tmp_path / "out").exists()
    with pytest.raises(ConselfError, match="has no arm 'd'") as error:
        run(["d"])
    assert "a, b, c" in error.value.hint


@pytest.mark.round
@pytest.mark.timeout(900)
def test_a_small_experiment_gives_its_table_and_is_not_run_twice(tmp_path: Path) -> None:
    write_problems(tmp_path / "problems.jsonl", "starter/list-length")
    random_pairs = 'settings = { pairs.pairing = "random", pairs.weight = "one" }\n'
    text = (
        'problems = "problems.jsonl"\nbenchmarks = ["held-out"]\n'
        "settings = { selection.entropy_threshold = 'none', evaluation.samples = 1, sampling.max_observation_attempts = 1, sampling.observation_max_new_tokens = 96, sampling.programs_per_observation = 4, sampling.max_new_tokens = 96, training.epochs = 1 }\n"
        f'{ARM}[[arm]]\nname = "random"\n{random_pairs}[[arm]]\nname = "twice"\nrounds = 2\n{random_pairs}'
    )
    (tmp_path / "e.toml").write_text(text)
    arguments = [
        "experiment",
        str(tmp_path / "e.toml"),
        "--folder",
        str(tmp_path / "out"),
        "--slots",
        "8",
        "--report",
        str(tmp_path / "r.md"),
    ]
    with Store(Home(tmp_path / "out" / "random 0").database) as looked_at:
        assert looked_at.latest_round() is None
    done = run_conself(tmp_path / "h", *arguments)
    assert done.returncode == 0, done.stderr
    rows = [
        line for line in done.stdout.splitlines() if re.match(r"\| (a|random|twice) \| held-out \| 1 \| 2 \|", line)
    ]
    assert len(rows) == 3 and all(" to " in row for row in rows), done.stdout
    assert "against a, points" in done.stdout
    report = (tmp_path / "r.md").read_text()
    assert all(row in report for row in rows) and "- twice: 2 rounds, pairs.pairing random" in report
    assert "- Times that arms were judged on held-out: 3." in report, "only the last round of an arm is judged"
    homes = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert homes[:2] == ["a 0", "random 0"] and homes[2].startswith("samples ") and homes[3:] == ["twice 0"]
    with (
        Store(tmp_path / "out" / "a 0" / "conself.db") as one,
        Store(tmp_path / "out" / "random 0" / "conself.db") as other,
    ):
        for shared in (
            "select text from evaluation_samples where arm = 'base' and round_id = 1 order by id",
            "select text from samples where round_id = 1 order by id",
        ):
            assert one.rows(shared) == other.rows(shared) != []
        assert one.rows("select * from pairs") != other.rows("select * from pairs")
        assert {row["weight"] for row in other.rows("select weight from pairs")} == {1.0}
        with Store(tmp_path / "out" / "twice 0" / "conself.db") as two:
            assert (
                two.round(2).base_adapter_id == 1
                and two.value("select parent_id from adapters where round_id = 2") == 1
            )
            first = "select sha256, created_at_utc from adapters where round_id = 1"
            assert two.rows(first) == other.rows(first), "it continues from the round of the shorter arm"
            assert two.adapter_file(1) == tmp_path / "out" / "twice 0" / "adapters" / "round-1" / "adapter.gguf"
            assert two.rows("select round_id from evaluations") == [{"round_id": 2}]
    again = run_conself(tmp_path / "h", *arguments)
    assert again.stdout == done.stdout
    elsewhere = [
        str(tmp_path / "not here") if argument == str(tmp_path / "out") else argument for argument in arguments
    ]
    assert run_conself(tmp_path / "h", *elsewhere).stdout == done.stdout
    assert (tmp_path / "r.md").read_text() == report and not (tmp_path / "not here").exists()
    assert len((tmp_path / "r.jsonl").read_text().splitlines()) == 3
    _verify_arm_of_a_file(tmp_path, text, arguments)
    for old, new in (("epochs = 1", "epochs = 2"), ('["held-out"]', '["validation"]'), ("rounds = 2", "rounds = 1")):
        (tmp_path / "e.toml").write_text(text.replace(old, new))
        edited = run_conself(tmp_path / "h", *arguments[:-1], str(tmp_path / "edited.md"))
        assert edited.returncode != 0 and "holds an arm of this name with other settings" in edited.stderr, (
            old,
            edited.stderr,
        )


def _verify_arm_of_a_file(folder: Path, text: str, arguments: list[str]) -> None:
    """An arm that trains on the pairs of another one, read from a file, gets the adapter of that one."""
    home = folder / "out" / "a 0"
    assert run_conself(home, "pairs", "--to", str(folder / "pairs.jsonl")).returncode == 0
    (folder / "pairs.jsonl.gz").write_bytes(gzip.compress((folder / "pairs.jsonl").read_bytes()))
    (folder / "e.toml").write_text(text + '[[arm]]\nname = "of a file"\npairs = "pairs.jsonl.gz"\n')
    done = run_conself(folder / "h", *arguments)
    assert done.returncode == 0, done.stderr
    *_, own, of_file = load_results(folder / "r.jsonl")
    of_round = next(one for one in load_results(folder / "r.jsonl") if one.arm.name == "a")
    assert own.arm.name == "twice" and (of_file.arm.name, of_file.arm.rounds) == ("of a file", 1)
    assert (of_file.adapter_sha256, of_file.pairs, of_file.steps) == (
        of_round.adapter_sha256, of_round.pairs, of_round.steps,
    )  # fmt: skip
    assert of_file.arm.pairs_sha256 == file_sha256(folder / "pairs.jsonl.gz")
    assert "- of a file: pairs of a file, sha256 " in (folder / "r.md").read_text()
