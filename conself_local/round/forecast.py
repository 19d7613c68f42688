"""Measure what a round costs on this computer: the speed of sampling and of training, by one model.

`measure_rates` opens the engine for a few seconds, then the trainer until it has made its plan, and keeps what it found
in the home. It does not look at the user's problems: it assumes typical programs and pairs. With the pairs that a round
really built, the trainer measures itself again before its first step (`Backend.plan` in `training/trainer.py`).
Not covered: what a round of some settings takes at these rates (`cost.py`).
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from contextlib import closing
from itertools import cycle, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, get_type_hints

from conself_local.errors import ConselfError
from conself_local.foreign_files import PARSER_ERRORS, read_text
from conself_local.home import Home
from conself_local.model_files.model import Model
from conself_local.new_files import replace_private
from conself_local.problems.load import load_starter
from conself_local.round.cost import TYPICAL_PAIRS, TYPICAL_TOKENS, Experience, Rates
from conself_local.round.run import PROMPT_TOKENS
from conself_local.sampling.open_engine import open_engine
from conself_local.sampling.prompts import answer_prefix, program_messages
from conself_local.sampling.tuning import sampling_config
from conself_local.settings import LAPTOP, fits
from conself_local.stages.train import job_of
from conself_local.store.store import TOKENS, Store
from conself_local.training.job import TokenPair
from conself_local.training.trainer_process import run_trainer

PROBE_SECONDS = 6.0
_PROBE_PAIRS = 16
_MAX_BYTES = 2**18
_MOST_MODELS = 50


def measure_rates(home: Home, model: Model) -> tuple[Rates, str]:
    """Measure and keep the rates of a model; return them, and why training could not be measured or an empty text.

    Raises ConselfError if the engine cannot be opened.
    """
    longest = PROMPT_TOKENS + LAPTOP.sampling.max_new_tokens
    with open_engine(
        model, sampling_config(model, home.cache), home.cache, longest=longest, use_gpu=True
    ) as engine:  # fmt: skip
        starter = load_starter(("train",))[:8]
        prompts = [engine.encode(program_messages(p), answer_prefix(p)) for p in starter]
        rate = engine.measure(prompts, PROBE_SECONDS, LAPTOP.sampling.max_new_tokens)
    rates, reason = Rates(tokens_per_second=max(rate, 0.01)), ""
    try:
        report = _plan_of_training(model, [prompt.token_ids for prompt in prompts])
        seconds = report.get("forecast_seconds")
        rates = dataclasses.replace(
            rates,
            seconds_per_pair=None if seconds is None else seconds / (_PROBE_PAIRS * LAPTOP.training.epochs),
            training_bytes=report.get("forecast_peak_bytes"),
        )
    except ConselfError as error:
        reason = f"training: {error.message} -> {error.hint}"
    _keep(home, model, rates)
    return rates, reason


def _plan_of_training(model: Model, prompts: Sequence[Sequence[int]]) -> dict[str, Any]:
    """Return the trainer's own forecast for typical pairs; the trainer is stopped before its first step."""
    prompt = max((tuple(ids) for ids in prompts), key=len)
    answer = tuple(islice(cycle(prompt), round(TYPICAL_TOKENS)))
    job = job_of(LAPTOP, model, (TokenPair(prompt, answer, answer, 1.0),) * _PROBE_PAIRS)
    with TemporaryDirectory() as folder, closing(run_trainer(job, Path(folder))) as reports:
        return next(reports)


def load_rates(home: Home, model: Model) -> Rates | None:
    """Return the kept rates of this model on this computer; None if they were never measured, or are damaged."""
    found = _read(home).get(model.sha256)
    hints = get_type_hints(Rates)
    if not isinstance(found, dict) or found.keys() != hints.keys():
        return None
    if not all(fits(found[name], hint) for name, hint in hints.items()) or found["tokens_per_second"] <= 0:
        return None
    return Rates(**found)


def load_experience(store: Store, model_sha256: str) -> Experience:
    """Return tokens per program and pairs per problem of this model's latest rounds, or what is typical."""
    of_model = "round_id in (select id from rounds where model_sha256 = ? order by id desc limit 3)"
    tokens = store.value(
        f"select avg(t) from (select {TOKENS} as t from samples where {of_model} limit 500)", model_sha256
    )  # fmt: skip
    problems = store.value(f"select count(*) from metrics where {of_model}", model_sha256)
    pairs = store.value(f"select sum(pairs) from metrics where {of_model}", model_sha256)
    return Experience(
        tokens_per_program=float(tokens or TYPICAL_TOKENS),
        pairs_per_problem=(pairs or 0) / problems if problems else TYPICAL_PAIRS,
    )


def _path(home: Home) -> Path:
    return home.path / "rates.json"


def _read(home: Home) -> dict[str, Any]:
    try:
        found = json.loads(read_text(_path(home), _MAX_BYTES))
    except (OSError, *PARSER_ERRORS):
        return {}
    return found if isinstance(found, dict) else {}


def _keep(home: Home, model: Model, rates: Rates) -> None:
    """Keep the rates beside those of other models; the model measured longest ago gives way if there are too many."""
    kept = _read(home)
    kept.pop(model.sha256, None)
    kept[model.sha256] = dataclasses.asdict(rates)
    replace_private(_path(home), json.dumps(dict(list(kept.items())[-_MOST_MODELS:]), indent=1))
