"""Models are compared on the same problems, nothing is sampled twice, and a kill loses no answer."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, cast, get_args

import click
import pytest

from conself_local.cli.bench import arms_of, bench, table_lines
from conself_local.errors import ConselfError
from conself_local.evaluation.bench import ArmAnswers, ProblemAnswers, bench_result, mean_interval
from conself_local.events import ignore_events
from conself_local.experiment.bench import BenchArm, BenchPlan, find_problems, run_bench
from conself_local.home import Home
from conself_local.model_files.model_file import ModelFile
from conself_local.problems.problem import Problem
from conself_local.round.context import ComputeOptions, RoundContext
from conself_local.sampling.sampler import ChatMessage, Completion, EncodedPrompt, Sampler, SampleRequest
from conself_local.settings import Prompt, Settings
from conself_local.store.store import Store
from sandbox import Limits, Sandbox
from tests.fakes.small_round import JUDGED, TRAIN, write_problems
from tests.fakes.tiny_model import write_tiny_model

DOUBLE = Problem(
    "double", "Double n.", "function", ((1,), (3,), (5,)), "held-out", "f", "def f(n):", "def f(n):\n    return 2 * n\n"
)
SQUARE = dataclasses.replace(DOUBLE, id="square", statement="Square n.", reference="def f(n):\n    return n * n\n")
GOOD, BAD = "    return n + n\n```", "    return n * n\n```"


class _Engine:
    """Writes the completions that `write` returns for (statement, number of the request of this prompt)."""

    def __init__(self, write: Callable[[str, int], str], dies_after: int | None = None) -> None:
        self._write, self._left, self.asked = write, dies_after, 0

    def encode(
        self, messages: Sequence[ChatMessage], answer_prefix: str = "", *, thinking: bool = False
    ) -> EncodedPrompt:
        text = messages[-1].content
        return EncodedPrompt(text, tuple(map(ord, text)))

    def sample(self, requests: Iterable[SampleRequest]) -> Iterator[Completion]:
        for request in requests:
            if self.asked == self._left:
                raise ConselfError("the engine was killed")
            self.asked += 1
            text = self._write("".join(map(chr, request.prompt_token_ids)), int(request.key.rpartition("/")[2]))
            yield Completion(request.key, text, (1,) * 10, "fence", 0.1, None)

    def score(self, *arguments: Any) -> list[float]:
        raise AssertionError("nothing is scored")

    def close(self) -> None:
        """Do nothing."""


def _sandbox(limits: Limits) -> Sandbox:
    return Sandbox(limits, workers=1)


def _run(home: Path, models: Sequence[ModelFile], engine: _Engine, plan: BenchPlan) -> dict[str, Any]:
    def open_sampler(context: RoundContext, settings: Settings) -> AbstractContextManager[Sampler]:
        return nullcontext(cast(Sampler, engine))

    arms = [BenchArm(model.path.name, model, None) for model in models]
    return run_bench(Home(home), arms, plan, ComputeOptions(1), _sandbox, ignore_events, open_sampler)


def _answer(statement: str, number: int) -> str:
    """Answer greedily with a square, and with 2 of 3 samples with twice the number."""
    return BAD if number in (-1, 2) else GOOD


@pytest.fixture
def model(tmp_path: Path) -> ModelFile:
    """Return a tiny model, of which only the hash matters."""
    return write_tiny_model(tmp_path / "tiny.gguf")


def test_greedy_sampled_and_consensus_are_judged_by_the_reference(tmp_path: Path, model: ModelFile) -> None:
    engine = _Engine(_answer)
    result = _run(tmp_path / "home", [model], engine, BenchPlan("mine", [DOUBLE, SQUARE], 3, 0))
    (arm,) = result["arms"]
    assert result["problems"] == 2 and engine.asked == 8
    assert arm["greedy"][0] == 0.5 and arm["consensus"][0] == 0.5
    assert arm["sampled"][0] == pytest.approx((2 / 3 + 1 / 3) / 2) and arm["agreement"][0] == pytest.approx(2 / 3)
    assert (arm["greedy_tokens"], arm["sampled_tokens"], arm["ran"][0]) == (10, 30, 1.0)
    assert arm["greedy_seconds"] > 0 and arm["sampled_seconds"] > 0
    text = "\n".join(table_lines(result))
    assert "consensus@3" in text and "50.0 (0.0-100.0)" in text and "10 + 30" in text


@pytest.mark.round
def test_a_killed_bench_continues_and_a_finished_one_samples_only_what_is_new(tmp_path: Path, model: ModelFile) -> None:
    plan, home = BenchPlan("mine", [DOUBLE, SQUARE], 3, 0), tmp_path / "home"
    with pytest.raises(ConselfError, match="killed"):
        _run(home, [model], _Engine(_answer, 5), plan)
    rest = _Engine(_answer)
    first = _run(home, [model], rest, plan)
    assert rest.asked == 3
    (database,) = home.glob("experiments/bench-*/conself.db")
    with Store(database) as store:  # killed after all programs had run, before they were judged
        store.db.execute("update evaluation_samples set correct = null where number = -1")
    again = _Engine(_answer, 0)
    assert _run(home, [model], again, plan) == first, "nothing is sampled, and the seconds are the stored ones"
    more = _Engine(_answer)
    _run(home, [model], more, dataclasses.replace(plan, samples=4))
    assert more.asked == 2
    other = write_tiny_model(tmp_path / "other.gguf", seed=1)
    fresh = _Engine(lambda statement, number: GOOD if "Double" in statement else BAD)
    result = _run(home, [model, other], fresh, plan)
    assert fresh.asked == 8 and [arm["label"] for arm in result["arms"]] == ["tiny.gguf", "other.gguf"]
    assert result["arms"][1]["against_first"]["greedy"][0] == 0.5
    assert "other.gguf against tiny.gguf: greedy +50.0 points" in "\n".join(table_lines(result))


@pytest.mark.round
def test_each_model_answers_every_prompt_once(tmp_path: Path, model: ModelFile) -> None:
    with Store(tmp_path / "conself.db") as store:
        arms = arms_of(store, (model.path,), (), ("observation", "plain", "plain"))
        (unnamed,) = arms_of(store, (model.path,), (), ())
    assert (unnamed.label, unnamed.prompt) == ("tiny.gguf", "observation")
    assert [arm.label for arm in arms] == ["tiny.gguf, observation", "tiny.gguf, plain"]
    asked: list[str] = []

    def write(statement: str, number: int) -> str:
        asked.append(statement)
        return BAD if "nothing else" in statement else GOOD

    def run(plan: BenchPlan) -> dict[str, Any]:
        engine = cast(Sampler, _Engine(write))
        home = Home(tmp_path / "home")
        return run_bench(home, arms, plan, ComputeOptions(1), _sandbox, ignore_events, lambda *_: nullcontext(engine))

    result = run(BenchPlan("mine", [DOUBLE], 0, 0))
    assert len(asked) == 2 and "nothing else" in asked[0] and "nothing else" not in asked[1]
    assert "tiny.gguf, plain against tiny.gguf, observation: greedy +100.0 points" in "\n".join(table_lines(result))
    assert run(BenchPlan("mine", [DOUBLE], 0, 0)) == result and len(asked) == 2


def test_every_prompt_of_the_settings_can_be_named() -> None:
    (option,) = [one for one in bench.params if one.name == "prompts"]
    assert cast(click.Choice[str], option.type).choices == get_args(Prompt)


@pytest.mark.round
def test_a_changed_problem_is_another_bench(tmp_path: Path, model: ModelFile) -> None:
    """A problems file that was edited must not be refused because an id has another content now."""
    home, changed = tmp_path / "home", dataclasses.replace(DOUBLE, statement="Double it.")
    _run(home, [model], _Engine(_answer), BenchPlan("mine", [DOUBLE], 1, 0))
    engine = _Engine(_answer)
    _run(home, [model], engine, BenchPlan("mine", [changed], 1, 0))
    assert engine.asked == 2


def test_without_references_only_what_needs_none_is_shown(tmp_path: Path, model: ModelFile) -> None:
    open_problem = dataclasses.replace(DOUBLE, split="train", reference=None)
    plan = BenchPlan("mine", [open_problem], 3, 0, ("no reference",))
    result = _run(tmp_path / "home", [model, model], _Engine(_answer), plan)
    arm = result["arms"][1]
    assert arm["greedy"] is arm["sampled"] is arm["consensus"] is None and arm["against_first"] == {}
    assert arm["agreement"][0] == pytest.approx(2 / 3)
    text = "\n".join(table_lines(result))
    assert "no reference" in text and "agreement@3" in text and "greedy " not in text.splitlines()[2]


def test_a_file_asks_its_judged_problems_and_says_what_it_leaves(tmp_path: Path) -> None:
    path = write_problems(tmp_path / "small.jsonl")
    problems, notes = find_problems(str(path), None, 0, _sandbox)
    assert {problem.id for problem in problems} == set(JUDGED)
    assert notes == (f"{len(TRAIN)} problems without a reference solution are not asked",)
    (tmp_path / "train.jsonl").write_text(
        "".join(line + "\n" for line in path.read_text().splitlines() if '"train"' in line)
    )
    problems, notes = find_problems(str(tmp_path / "train.jsonl"), 1, 0, _sandbox)
    assert len(problems) == 1 and "no reference solution" in notes[0]
    with pytest.raises(ConselfError, match="neither a benchmark nor a problems file"):
        find_problems("humanevil", None, 0, _sandbox)
    assert len(find_problems("held-out", 3, 0, _sandbox)[0]) == 3


def _answers(*right: bool) -> ArmAnswers:
    one = ProblemAnswers(
        greedy_right=True, samples_right=None, consensus_right=None, agreement=None, ran=1.0, greedy_tokens=4,
        sampled_tokens=0,
    )  # fmt: skip
    answers = [dataclasses.replace(one, greedy_right=value) for value in right]
    return ArmAnswers(label="m", answers=answers, greedy_s=2.0, sampled_s=0.0)


def test_worked_numbers() -> None:
    assert mean_interval([1.0, 1.0], seed=0) == (1.0, 1.0, 1.0)
    result = bench_result([_answers(False, False), _answers(True, True)], seed=0)
    first, second = result["arms"]
    assert first["greedy"] == [0, 0, 0] and second["against_first"] == {"greedy": [1, 1, 1]}
    assert (second["greedy_seconds"], second["greedy_tokens"], second["consensus"]) == (1.0, 4.0, None)
    text = table_lines(result | {"benchmark": "b", "samples": 0, "notes": []})
    assert text[-1] == "m against m: greedy +100.0 points (+100.0 to +100.0), better" and "consensus" not in text[1]
