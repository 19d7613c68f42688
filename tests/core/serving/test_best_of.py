"""Answers are confirmed, replaced or doubted by what their programs do, on a real sandbox and scripted completions."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import cast

import pytest

from conself_local.cli.best_of import side_by_side
from conself_local.home import Home
from conself_local.model_files.model_file import ModelFile
from conself_local.sampling.sampler import ChatMessage
from conself_local.serving import verdict as text
from conself_local.serving.ask_best_of import AskBestOf, AskOptions
from conself_local.serving.best_of import BestOf
from conself_local.serving.program_runner import ProgramRunner
from conself_local.serving.verdict import Verdict, block, call_text, cut
from sandbox import Limits, Sandbox, SandboxError
from tests.fakes.scripted_engine import ScriptedEngine

DOUBLE = "def double(n: int) -> int:\n    return n * 2\n"
SUM = "def double(n: int) -> int:\n    return n + n\n"
SQUARE = "def double(n: int) -> int:\n    return n * n\n"
NOTHING = "def double(n: int) -> int:\n    print(n * 2)\n"
CRASH = "def double(n: int) -> int:\n    return m\n"
ASKED = "Write a Python function double(n) that doubles n."


@pytest.fixture(scope="module")
def runner() -> Iterator[ProgramRunner]:
    """Yield a runner for all tests."""
    running = ProgramRunner(lambda limits: Sandbox(limits, workers=1))
    yield running
    running.close()


def _best_of(engine: ScriptedEngine, runner: ProgramRunner, question: str, first: str, most: int = 8) -> BestOf:
    best = BestOf(engine, runner, [ChatMessage("user", question)], adapter=None, room=1000, most=most, seed=1)
    best.first_answer = first
    return best


def _decide(
    runner: ProgramRunner, programs: list[str], first: str = block(DOUBLE), question: str = ASKED, calls: str = ""
) -> Verdict:
    async def decide() -> Verdict:
        return await _best_of(ScriptedEngine(programs, calls), runner, question, first).decide()

    return asyncio.run(decide())


def test_four_programs_that_agree_confirm_the_first_answer(runner: ProgramRunner) -> None:
    found = _decide(runner, [DOUBLE, SUM, SUM, DOUBLE], calls="double(3)\ndouble(-4)")
    assert (found.kind, found.answer) == ("confirmed", block(DOUBLE))
    assert (found.agree, found.sampled) == (4, 4) and found.reason == f"4 of 4 agree on {found.inputs} inputs"
    assert found.question is None and found.inputs >= 8


def test_a_first_answer_that_most_contradict_is_replaced_with_the_input_that_shows_it(runner: ProgramRunner) -> None:
    found = _decide(runner, [DOUBLE, SUM, NOTHING, DOUBLE], block(SQUARE))
    assert found.kind == "replaced" and found.answer == block(found.code) and "n * n" not in found.code
    assert "and the first answer gives" in found.reason and "for double(" in found.reason


def test_sampling_ends_at_the_most_and_a_minority_is_doubtful(runner: ProgramRunner) -> None:
    programs = [DOUBLE, SQUARE, CRASH, CRASH, CRASH, CRASH, SQUARE, DOUBLE]
    found = _decide(runner, programs, block(CRASH))
    assert (found.kind, found.sampled, found.agree) == ("unsure", 8, 2)
    assert {found.code, found.other} == {DOUBLE, SQUARE} and "the model is not sure: 2 of 8 agree" in found.reason


def test_programs_that_contradict_an_example_are_out(runner: ProgramRunner) -> None:
    question = f"{ASKED}\ndouble(3) == 6"
    found = _decide(runner, [SQUARE, SQUARE, SQUARE, DOUBLE], block(SQUARE), question)
    assert found.kind in ("replaced", "unsure") and "n * 2" in found.code
    assert found.question is None, "what an example rules out is no question"
    first = _decide(runner, [DOUBLE], block(SQUARE), question)
    assert "gives 9 for double(3), and your example says 6" in first.reason


def test_examples_that_contradict_each_other_are_reported_and_their_outputs_not_used(runner: ProgramRunner) -> None:
    found = _decide(runner, [DOUBLE], question=f"{ASKED}\ndouble(3) == 6\ndouble(3) == 7")
    assert found.kind == "confirmed"
    assert "the examples contradict each other on double(3), so none of those outputs is used" in found.reason


def test_no_program_that_gives_the_examples_leaves_the_first_answer_and_says_so(runner: ProgramRunner) -> None:
    found = _decide(runner, [DOUBLE], question=f"{ASKED}\ndouble(3) == 7")
    assert found.kind == "single" and "none of its 8 programs gives the outputs of your examples" in found.reason


@pytest.mark.parametrize(
    ("first", "reason"),
    [
        ("The capital of France is Paris.", text.NO_CODE),
        ("```python\nprint('hi')\n```", text.NO_CODE),
        ("```python\ndef main():\n    print('hi')\n```", text.NOT_CALLABLE),
        ("```python\ndef double(n):\n    return n * 2\n```", text.NO_INPUTS),
    ],
)
def test_without_code_or_inputs_there_is_one_answer_and_the_reason(
    runner: ProgramRunner, first: str, reason: str
) -> None:
    found = _decide(runner, [DOUBLE], first, calls="double(x)\nI cannot write calls.")
    assert (found.kind, found.answer, found.reason) == ("single", first, reason)


def test_the_prompt_names_the_function_if_the_question_does_not(runner: ProgramRunner) -> None:
    async def prompts(question: str) -> list[str]:
        engine = ScriptedEngine([DOUBLE])
        await _best_of(engine, runner, question, block(DOUBLE)).decide()
        return engine.prompts

    assert "The function must be named `double`." in asyncio.run(prompts("Write a function."))[0]
    assert "The function must be named" not in asyncio.run(prompts(ASKED))[0]


def test_a_question_that_is_stopped_half_way_says_what_is_known(runner: ProgramRunner) -> None:
    async def stop(hold_after: int) -> Verdict:
        engine = ScriptedEngine([DOUBLE, SQUARE], hold_after=hold_after)
        best = _best_of(engine, runner, ASKED, block(DOUBLE))
        task = asyncio.create_task(best.decide())
        await engine.is_holding.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return best.verdict()

    nothing, some = asyncio.run(stop(2)), asyncio.run(stop(6))
    assert (nothing.kind, nothing.reason) == ("single", text.NOT_RUN) and nothing.answer == block(DOUBLE)
    assert (some.sampled, some.agree, some.kind) == (4, 2, "confirmed")


def test_the_users_word_decides_like_an_example(runner: ProgramRunner) -> None:
    async def ask() -> tuple[BestOf, Verdict]:
        best = _best_of(ScriptedEngine([DOUBLE, DOUBLE, SQUARE, SUM]), runner, ASKED, block(DOUBLE))
        return best, await best.decide()

    for choice in ("a", "b", "neither"):
        best, found = asyncio.run(ask())
        question = found.question
        assert question and question.votes == (6, 2) and question.outputs[0] != question.outputs[1]
        assert question.token_ids[0] != question.token_ids[1] and question.prompt_token_ids == (1, 1)
        decided = best.take_word(question, choice)
        assert decided.question is None and f"you decided on {question.call}" in decided.reason
        wanted = {"a": ("confirmed", "n * 2"), "b": ("replaced", "n * n"), "neither": ("single", "n * 2")}[choice]
        assert decided.kind == wanted[0] and wanted[1] in decided.answer


def test_outputs_with_control_characters_and_giant_ones_are_cut_and_counted(runner: ProgramRunner) -> None:
    hostile = "def double(n: int) -> str:\n    return '\\x1b[2J' * 9000 + str(n)\n"
    found = _decide(runner, [hostile, hostile, DOUBLE, DOUBLE, SUM, hostile], block(hostile))
    assert found.question is not None
    lines = "\n".join(found.question.lines())
    assert "\x1b" not in lines and len(lines) < 1_000, "outputs are canonical texts, and cut"
    assert call_text("f", ("x" * 10**6,)).endswith("characters)") and len(cut("y" * 10**6)) < 300


def test_two_answers_stand_beside_each_other_if_there_is_room() -> None:
    wide, narrow = side_by_side(DOUBLE, SQUARE, 120), side_by_side(DOUBLE, SQUARE, 40)
    assert "return n * 2" in wide.splitlines()[3] and "return n * n" in wide.splitlines()[3]
    assert narrow.index("answer a") < narrow.index("n * 2") < narrow.index("answer b") < narrow.index("n * n")
    assert "\x1b" not in side_by_side("a = '\x1b[2J'", "宽", 80)


def test_a_refused_sandbox_ends_the_question_before_the_model_is_loaded() -> None:
    """A protection that is missing and was not waived is reported at once, not after a minute of sampling."""

    def refuse(limits: Limits) -> Sandbox:
        raise SandboxError("this computer lacks landlock")

    options = AskOptions(most=4, max_new_tokens=9, threads=1, use_gpu=False)
    model = cast(ModelFile, type("NoModel", (), {"context_length": 10}))
    asked = AskBestOf(cast(Home, None), model, None, "?", options, refuse, print, print)
    with pytest.raises(SandboxError, match="lacks landlock"):
        asked.run()
