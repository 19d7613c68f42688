"""This computer and a round on it, in plain words: what a beginner reads before the first round.

`forecast` opens the engine for a few seconds, then the trainer, and says what a round will cost; with the pairs that a round
really built the trainer times itself again before its first step (`training/plan.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from itertools import cycle, islice
from pathlib import Path
from tempfile import TemporaryDirectory

from conself_local.errors import ConselfError
from conself_local.home import Home
from conself_local.machine.room import DISK_NEEDED_BYTES, gib
from conself_local.model_files.model_file import ModelFile
from conself_local.problems.load import load_starter
from conself_local.round.run import PROMPT_TOKENS
from conself_local.sampling.open_engine import open_llama
from conself_local.sampling.prompts import answer_prefix, program_messages
from conself_local.sampling.tuning import sampling_config
from conself_local.settings import LAPTOP
from conself_local.stages.train import job_of
from conself_local.training.job import TokenPair
from conself_local.training.trainer_process import run_trainer

PROBE_SECONDS = 6.0
_TYPICAL_TOKENS = 100
"""Of one program of a small model, for the forecast only."""
_TYPICAL_PAIRS = 0.72
"""A problem: what the bundled model gave on the starter pack."""


def forecast(home: Home, model: ModelFile, problems: int) -> list[str]:
    """Sentences from a probe of a few seconds: programs an hour, time, memory, disk. Raises ConselfError where it does not run."""
    config = sampling_config(model, home.cache)
    longest = PROMPT_TOKENS + LAPTOP.max_new_tokens
    with open_llama(
        model, config.format, home.cache, slots=config.slots, threads=config.threads, longest=longest, use_gpu=True
    ) as engine:
        starter = load_starter(("train",))[:8]
        prompts = [engine.encode(program_messages(p), answer_prefix(p)) for p in starter]
        rate = engine.measure(prompts, PROBE_SECONDS, LAPTOP.max_new_tokens)
    an_hour = rate * 3600 / _TYPICAL_TOKENS
    minutes = problems * (LAPTOP.samples_per_problem + 2) / an_hour * 60
    return [
        f"{rate:.0f} tokens/s: about {an_hour:,.0f} programs an hour, so some {minutes:.0f} min to sample {problems} problems",
        _training_words(model, [prompt.token_ids for prompt in prompts], max(1, round(_TYPICAL_PAIRS * problems))),
        f"disk: {gib(DISK_NEEDED_BYTES)} and less for a round",
    ]


def _training_words(model: ModelFile, prompts: Sequence[Sequence[int]], count: int) -> str:
    """What the trainer itself foretells of so many typical pairs; it is stopped before its first step."""
    prompt = max((tuple(ids) for ids in prompts), key=len)
    answer = tuple(islice(cycle(prompt), _TYPICAL_TOKENS))
    job = job_of(LAPTOP, model, (TokenPair(prompt, answer, answer, 1.0),) * count)
    try:
        with TemporaryDirectory() as folder, closing(run_trainer(job, Path(folder))) as reports:
            return f"training on {count} pairs, if so many come of it: {next(reports)['forecast']}"
    except ConselfError as error:
        return f"training: {error.message} -> {error.hint}"


def starter_size() -> int:
    return len(load_starter(("train",)))
