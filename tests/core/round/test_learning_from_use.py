"""Yesterday's questions are problems today: one is edited, one forgotten, and a round trains on the others.

The model is tiny and its answers are written beforehand; store, sandbox, scoring and training are real.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import cast

import pytest
from click.testing import CliRunner, Result

from conself_local.cli.main import main
from conself_local.events import ignore_events
from conself_local.home import Home
from conself_local.model_files.model_file import ModelFile
from conself_local.round.start import Request, open_round
from conself_local.round.verify import verify_store
from conself_local.sampling.sampler import ChatMessage, Completion, EncodedPrompt, Sampler, SampleRequest
from conself_local.serving.best_of import BestOf
from conself_local.serving.program_runner import ProgramRunner
from conself_local.serving.verdict import block
from conself_local.stages.augment import augment_inputs
from conself_local.stages.execute import execute_programs
from conself_local.stages.sample import sample_observations, sample_programs
from conself_local.stages.score import build_round_pairs, score_problems
from conself_local.stages.train import make_job, train_adapter
from conself_local.store.kept_questions import keep_question
from conself_local.store.store import RoundInfo, Store
from sandbox import Limits, Sandbox
from tests.fakes.scripted_engine import ScriptedEngine
from tests.fakes.tiny_model import write_tiny_model

pytestmark = pytest.mark.round
QUESTIONS = ("double", "Write double(n), the zebrafinches of n pairs."), ("triple", "Write triple(n) for tripods."), (
    "halve", "Write halve(n), which shares n pears.",
)  # fmt: skip
RIGHT, WRONG, OTHER = "    return n * 2\n```", "    return n * n\n```", "    return n + 2\n```"


class _Sampler:
    """Answers three of five requests alike, and the others in two other ways; observations are prose."""

    def __init__(self) -> None:
        self._given = 0

    def encode(
        self, messages: Sequence[ChatMessage], answer_prefix: str = "", *, thinking: bool = False
    ) -> EncodedPrompt:
        return EncodedPrompt(messages[-1].content + answer_prefix, (1, 5, 7))

    def sample(self, requests: Iterable[SampleRequest]) -> Iterator[Completion]:
        for request in requests:
            self._given += 1
            text = (RIGHT, WRONG, RIGHT, OTHER, RIGHT)[self._given % 5] if request.answer_prefix else "Think of n."
            ids = (9, 10 + self._given % 5, 2)
            yield Completion(request.key, text, ids, "fence", 0.5 + self._given % 5 / 10, 1.0)

    def score(self, *arguments: object) -> list[float]:
        raise AssertionError("nothing is scored")

    def close(self) -> None:
        """Do nothing."""


def _sandbox(limits: Limits) -> Sandbox:
    return Sandbox(limits, workers=1)


def _conself(home: Home, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["--home", str(home.path), *arguments])


def _ask_all(home: Home) -> None:
    """Ask every question as `conself ask --best-of` does, with an engine that writes what it is told."""
    runner = ProgramRunner(_sandbox)
    try:
        for name, question in QUESTIONS:
            program = f"def {name}(n: int):\n    return n * 2\n"
            engine = ScriptedEngine([program, program.replace("* 2", "* n")], f"{name}(3)\n{name}(5)")
            best = BestOf(engine, runner, [ChatMessage("user", question)], adapter=None, room=1000, most=8, seed=1)
            best.first_answer = block(program)
            asyncio.run(best.decide())
            answered = best.answered()
            assert answered is not None
            with Store(home.database) as store:
                keep_question(store, answered)
    finally:
        runner.close()


def _until_pairs(store: Store, round_: RoundInfo) -> None:
    """Run the stages of a round before the training."""
    sampler = cast(Sampler, _Sampler())
    sample_observations(store, round_, sampler, None, ignore_events)
    sample_programs(store, round_, sampler, None, ignore_events, lambda: None)
    execute_programs(store, round_, _sandbox, ignore_events)
    augment_inputs(store, round_, _sandbox, ignore_events)
    score_problems(store, round_, ignore_events)
    build_round_pairs(store, round_, ignore_events)


def _edit(home: Home, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the tripods of question 2 with an editor."""
    editor = folder / "editor.py"
    editor.write_text(
        "import pathlib, sys\npath = pathlib.Path(sys.argv[1])\n"
        "path.write_text(path.read_text().replace('tripods', 'ostriches'))\n"
    )
    monkeypatch.delenv("VISUAL", raising=False)
    monkeypatch.setenv("EDITOR", f"'{sys.executable}' '{editor}'")
    assert _conself(home, "problems", "mine", "--edit", "2").exit_code == 0


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """Return a home in which three questions were asked, one edited and one forgotten."""
    made = Home(tmp_path / "home")
    _ask_all(made)
    listed = _conself(made, "problems", "mine").stdout.splitlines()
    assert len(listed) == 3 and all("agree" in line for line in listed)
    _edit(made, tmp_path, monkeypatch)
    assert _conself(made, "forget", "3", "--yes").exit_code == 0
    return made


@pytest.fixture
def model(tmp_path: Path) -> ModelFile:
    """Return a tiny model."""
    return write_tiny_model(tmp_path / "tiny.gguf")


def _open(store: Store, model: ModelFile) -> RoundInfo:
    return open_round(store, Request(model=model.path, problems=Path("mine"), benchmarks=()), _sandbox)[0]


def _files_with(folder: Path, text: bytes) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and text in path.read_bytes()]


def test_a_round_builds_its_training_from_yesterdays_questions(home: Home, model: ModelFile) -> None:
    with Store(home.database) as store:
        round_ = _open(store, model)
        statements = [problem.statement for problem in store.round_problems(round_.id)]
        assert statements == [QUESTIONS[0][1], QUESTIONS[1][1].replace("tripods", "ostriches")]
        _until_pairs(store, round_)
        job = make_job(store, round_, model, ignore_events)
        assert store.value("select count(distinct problem_id) from pairs") == 2
        assert len(job.pairs) == store.value("select count(*) from pairs") and verify_store(store) == []
        assert _files_with(home.path, b"zebrafinches")
    assert _conself(home, "forget", "1", "--yes").exit_code == 0
    with Store(home.database) as store:
        assert verify_store(store) == [] and store.value("select count(distinct problem_id) from pairs") == 1
    assert _files_with(home.path, b"zebrafinches") == [], "the question stands nowhere in the home any more"


def test_a_round_trains_on_yesterdays_questions_and_forgetting_names_its_adapter(home: Home, model: ModelFile) -> None:
    with Store(home.database) as store:
        round_ = _open(store, model)
        _until_pairs(store, round_)
        train_adapter(store, round_, model, home, ignore_events)
        (adapter,) = store.rows("select id, name from adapters")
        store.finish_round(round_.id)
    done = _conself(home, "forget", "1", "--yes")
    assert f"adapter {adapter['id']} ({adapter['name']}, candidate) was trained on what is deleted" in done.stdout
    with Store(home.database) as store:
        assert verify_store(store) == [] and store.adapter_file(adapter["id"])
    assert not home.training_folder(round_.id).exists()
