"""Run the stages of a round up to its pairs with a scripted sampler and the real sandbox, so that no model is needed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from conself_local.events import ignore_events
from conself_local.problems.problem import Problem
from conself_local.sampling.sampler import SampleRequest
from conself_local.settings import Settings
from conself_local.stages.augment import augment_inputs
from conself_local.stages.execute import execute_programs, run_sampled_programs
from conself_local.stages.sample import sample_observations, sample_programs
from conself_local.stages.score import build_round_pairs, score_problems
from conself_local.store.store import RoundInfo, Store
from sandbox import Limits, Sandbox
from tests.fakes.scripted_sampler import ScriptedSampler


def make_sandbox(limits: Limits) -> Sandbox:
    """Return a sandbox of one worker."""
    return Sandbox(limits, workers=1)


def problem(name: str) -> Problem:
    """Return a training problem about a function `f` of one number."""
    return Problem(f"t/{name}", f"Do {name}.", "function", ((1,), (2,), (3,)), "train", "f", "def f(n):", None)


def answer(body: str) -> str:
    """Return an answer whose program returns `body`, an expression in `n`."""
    return f"```python\ndef f(n):\n    return {body}\n```"


def start_round(store: Store, settings: Settings, problems: Sequence[Problem], seed: int = 0) -> RoundInfo:
    """Store a new round from the base model."""
    return store.start_round(
        seed=seed,
        settings=settings,
        model_path=Path("m.gguf"),
        model_sha256="0" * 64,
        template_hash="t",
        base_adapter_id=None,
        versions={},
        request={},
        problems=problems,
    )


def sample_scripted(store: Store, round_: RoundInfo, sampler: ScriptedSampler) -> None:
    """Sample the programs of a round; with adaptive sampling, they run between the waves."""
    sample_programs(
        store, round_, sampler, None, ignore_events, lambda: None,
        lambda: run_sampled_programs(store, round_, make_sandbox),
    )  # fmt: skip


def run_to_pairs(store: Store, round_: RoundInfo, write: Callable[[SampleRequest], str]) -> ScriptedSampler:
    """Run the stages from observations to pairs, mark the round as done, and return the sampler."""
    sampler = ScriptedSampler(write)
    sample_observations(store, round_, sampler, None, ignore_events)
    sample_scripted(store, round_, sampler)
    execute_programs(store, round_, make_sandbox, ignore_events)
    augment_inputs(store, round_, make_sandbox, ignore_events)
    score_problems(store, round_, ignore_events)
    build_round_pairs(store, round_, ignore_events)
    store.finish_stage(round_.id, "running copy", "scripted")
    store.finish_round(round_.id)
    return sampler
