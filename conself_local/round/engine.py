"""Fix the engine that samples a round: it is chosen when sampling begins, and stored with the round.

So a round that is continued samples on the same engine, and an evaluation compares both of its arms on one. Not
covered: how the engine is opened (`sampling/open_engine.py`), and what `auto` measures (`sampling/tuning.py`).
"""

from __future__ import annotations

import shlex

from conself_local.errors import ConselfError
from conself_local.events import Notice, NoticeKind
from conself_local.round.context import RoundContext
from conself_local.sampling.config import LLAMA_CPP
from conself_local.sampling.tuning import load_tuning
from conself_local.store.store import RoundInfo

ENGINE = "engine"
"""Name in the table `stages` under which the engine of a round is stored; llama.cpp is not stored."""


def fix_engine(context: RoundContext, round_: RoundInfo) -> RoundContext:
    """Return the context with the engine of this round, which is chosen and stored now if nothing was sampled yet.

    Raises ConselfError if the user asks for another engine than the one that sampled the round until now.
    """
    store, asked = context.store, context.compute.engine
    fixed = store.stage_summary(round_.id, ENGINE)
    if fixed is None and store.value("select 1 from observations where round_id = ? limit 1", round_.id):
        fixed = LLAMA_CPP
    if fixed is None:
        _advise_tuning(context)
        fixed = context.sampling_config().engine
        if fixed != LLAMA_CPP:
            store.finish_stage(round_.id, ENGINE, fixed)
            context.on_event(Notice(f"the engine {fixed} samples this round", NoticeKind.ENGINE, "sample"))
    elif asked is not None and asked != fixed:
        raise ConselfError(
            f"round {round_.id} is sampled by the engine {fixed}, and --engine asks for {asked}",
            "omit the option to continue the round, or add --new to abandon it and start another",
        )
    return context.with_engine(fixed)


def _advise_tuning(context: RoundContext) -> None:
    """Send a notice if nobody measured what samples this model fastest here, and the user did not choose it."""
    compute = context.compute
    if compute.endpoint or compute.engine or compute.weights_format or load_tuning(context.model, context.home.cache):
        return
    text = (
        f"nobody measured what samples this model fastest on this computer: `conself tune --model "
        f"{shlex.quote(str(context.model.path))}` takes a minute or two, and rounds that begin later may sample faster"
    )
    context.on_event(Notice(text, NoticeKind.NOT_TUNED, "sample"))
