"""Forecast what a round costs on this computer: time, memory and disk, in sentences for a first-time user.

`forecast` opens the engine for a few seconds, then the trainer until it has made its plan. Nothing of this is stored.
It does not look at the user's problems: it assumes typical programs and pairs. With the pairs that a round really
built, the trainer measures itself again before its first step (`Backend.plan` in `training/trainer.py`).
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
from conself_local.model_files.model import Model
from conself_local.problems.load import load_starter
from conself_local.round.run import PROMPT_TOKENS
from conself_local.sampling.config import LLAMA_CPP
from conself_local.sampling.open_engine import open_engine
from conself_local.sampling.prompts import answer_prefix, program_messages
from conself_local.sampling.tuning import sampling_config
from conself_local.settings import LAPTOP
from conself_local.stages.train import job_of
from conself_local.training.job import TokenPair
from conself_local.training.trainer_process import run_trainer

PROBE_SECONDS = 6.0
_TYPICAL_TOKENS = 100
"""Tokens per program of a small model; used for the forecast only."""
_TYPICAL_PAIRS = 0.72
"""Pairs per problem, as measured with the bundled model on the starter pack."""


def forecast(home: Home, model: Model, problems: int) -> list[str]:
    """Return three sentences: programs per hour and sampling time, training time and memory, disk space.

    They come from a probe of a few seconds. `problems` is the number of training problems of the round.
    Raises ConselfError if the engine cannot be opened; an error of the trainer becomes the second sentence.
    """
    config = sampling_config(model, home.cache)
    longest = PROMPT_TOKENS + LAPTOP.sampling.max_new_tokens
    with open_engine(model, config, home.cache, longest=longest, use_gpu=True) as engine:
        starter = load_starter(("train",))[:8]
        prompts = [engine.encode(program_messages(p), answer_prefix(p)) for p in starter]
        rate = engine.measure(prompts, PROBE_SECONDS, LAPTOP.sampling.max_new_tokens)
    by = "" if config.engine == LLAMA_CPP else f" by {config.engine}"
    programs_per_hour = rate * 3600 / _TYPICAL_TOKENS
    minutes = problems * (LAPTOP.sampling.samples_per_problem + 2) / programs_per_hour * 60
    return [
        f"{rate:.0f} tokens/s{by}: about {programs_per_hour:,.0f} programs per hour, "
        f"so about {minutes:.0f} min to sample {problems} problems",
        _training_forecast(model, [prompt.token_ids for prompt in prompts], max(1, round(_TYPICAL_PAIRS * problems))),
        f"disk: at most {gib(DISK_NEEDED_BYTES)} for a round",
    ]


def _training_forecast(model: Model, prompts: Sequence[Sequence[int]], count: int) -> str:
    """Return the trainer's own forecast for `count` typical pairs; the trainer is stopped before its first step."""
    prompt = max((tuple(ids) for ids in prompts), key=len)
    answer = tuple(islice(cycle(prompt), _TYPICAL_TOKENS))
    job = job_of(LAPTOP, model, (TokenPair(prompt, answer, answer, 1.0),) * count)
    try:
        with TemporaryDirectory() as folder, closing(run_trainer(job, Path(folder))) as reports:
            return f"training on {count} pairs, if the round builds that many: {next(reports)['forecast']}"
    except ConselfError as error:
        return f"training: {error.message} -> {error.hint}"


def starter_size() -> int:
    """Return the number of training problems in the starter pack."""
    return len(load_starter(("train",)))
