"""Say in a few values how a home is: its latest round, how far each step of it is, and what came of it.

Every screen shows this all the time, so it is read without counting rows. The counts are in `store/reports.py`, and
single problems, programs and pairs in `views.py`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from conself_local.home import Home
from conself_local.round import process as round_process
from conself_local.round.choices import request_arguments
from conself_local.settings import find_differences, format_value
from conself_local.store.store import RoundInfo, Store

RoundState = Literal["none", "starting", "running", "paused", "stopped", "failed", "done"]
StepState = Literal["not begun", "running", "paused", "look", "failed", "done", "left out"]
STEPS = ("round", "problems", "pairs", "training", "evaluation", "adapters")
"""The steps of the pipeline that have a state; each is shown on a screen of its own."""


@dataclass(frozen=True, kw_only=True)
class Overview:
    """The state of a home."""

    state: RoundState
    round_id: int | None = None
    """The latest round; None if there is none."""
    model: str = ""
    """File name of the latest round's model."""
    failure: str = ""
    """Why the latest round ended early, and what to do; empty if it did not."""
    steps: Mapping[str, StepState] = field(default_factory=dict)
    outcome: str = ""
    """What came of a round that is done, in a few words; empty before that."""


def overview(store: Store, home: Home) -> Overview:
    """Return the state of the home; an interrupted round is `stopped`, or `failed` if it said why it ended."""
    latest = store.latest_round()
    running, failure = round_process.running(home) is not None, round_process.failure(home)
    if latest is None:
        return Overview(state="starting" if running else "failed" if failure else "none", failure=failure)
    state = _state(latest, running, running and round_process.is_paused(home), failure)
    return Overview(
        state=state,
        round_id=latest.id,
        model=latest.model_path.name,
        failure=failure,
        steps=_steps(store, latest, state),
        outcome=_outcome(store, latest) if state == "done" else "",
    )


def _state(latest: RoundInfo, running: bool, paused: bool, failure: str) -> RoundState:
    if running:
        # the lock is taken before the new round is stored
        return "paused" if paused else "running" if latest.state == "running" else "starting"
    if failure:
        return "failed"
    return "stopped" if latest.state == "running" else "done"


_BEGUN = {
    "problems": "select exists(select 1 from observations where round_id = ?)",
    "pairs": "select exists(select 1 from metrics where round_id = ?)",
    "training": "select exists(select 1 from training_steps where round_id = ?)",
    "evaluation": "select exists(select 1 from evaluation_samples where round_id = ?)",
}
_ENDS_WITH = {"problems": "score", "pairs": "pair", "training": "train", "evaluation": "decide"}


def _steps(store: Store, latest: RoundInfo, state: RoundState) -> dict[str, StepState]:
    """Return how far each step is; a step that has begun is as the round is: running, paused or stopped."""
    ended = {row["stage"] for row in store.rows("select stage from stages where round_id = ?", latest.id)}
    now: StepState = {"running": "running", "paused": "paused", "failed": "failed"}.get(state, "look")  # type: ignore[assignment]
    steps: dict[str, StepState] = {"round": "done" if state == "done" else "running" if state == "starting" else now}
    for step, sql in _BEGUN.items():
        if _ENDS_WITH[step] in ended:
            steps[step] = "done"
        else:
            steps[step] = now if store.value(sql, latest.id) else "not begun"
    adapter = store.value("select state from adapters where round_id = ?", latest.id)
    if steps["training"] == "done" and adapter is None:
        steps["training"] = steps["evaluation"] = "left out"
    steps["adapters"] = "done" if store.value("select exists(select 1 from adapters)") else "not begun"
    return steps


def _outcome(store: Store, latest: RoundInfo) -> str:
    """Return the decision and the verdict on the held-out problems, or on the validation ones, in a few words."""
    adapters = store.rows("select id, state from adapters where round_id = ?", latest.id)
    if not adapters:
        return "no adapter was trained"
    words = {"accepted": "kept", "rejected": "put aside", "candidate": "not decided"}
    said = f"adapter {adapters[0]['id']} {words[adapters[0]['state']]}"
    sql = "select benchmark, result from evaluations where round_id = ?"
    results = {row["benchmark"]: json.loads(row["result"]) for row in store.rows(sql, latest.id)}
    for benchmark in ("held-out", "validation", *results):
        if benchmark in results:
            return f"{said}, {verdict_word(results[benchmark])} on {benchmark} problems"
    return f"{said}, not evaluated"


def verdict_word(result: Mapping[str, Any]) -> str:
    """Return the verdict of one benchmark without its numbers: `better (+6.7 points ...)` -> `better`."""
    return str(result.get("word") or result.get("verdict", "").split(" (")[0])


def same_again(round_: RoundInfo) -> list[str] | None:
    """Return the arguments of `conself run` for another round like this one, with a new seed.

    Returns None if its model file is gone.
    """
    settings, request = round_.settings, round_.request
    if not round_.model_path.exists():
        return None
    arguments = ["--preset", settings.preset, "--model", str(round_.model_path)]
    for change in find_differences(settings):
        arguments += ["--set", f"{change.name}={format_value(change.value)}"]
    if request.get("with_mine"):
        arguments.append("--with-mine")
    benchmarks = request.get("benchmarks") or ()
    return arguments + request_arguments(request.get("problems"), request.get("limit"), benchmarks)


def seconds_per_step(store: Store, model_sha256: str) -> float | None:
    """Return how long a training step on this model took, over the latest steps of any round; None if none was made."""
    sql = """select avg(seconds) from (select t.seconds from training_steps t join rounds r on r.id = t.round_id
             where r.model_sha256 = ? order by t.round_id desc, t.step desc limit 20)"""
    seconds: float | None = store.value(sql, model_sha256)
    return seconds


def expected_steps(store: Store, round_: RoundInfo) -> int | None:
    """Return how many optimiser steps the training of this round will take, before it has begun.

    The pairs are those of the round or, before they are built, as many per problem as earlier rounds of this home gave;
    None if no round has built any.
    """
    settings = round_.settings
    if store.stage_summary(round_.id, "pair") is not None:
        pairs = int(store.value("select count(*) from pairs where round_id = ? and not excluded", round_.id))
    else:
        built = int(store.value("select count(*) from pairs"))
        sql = "select count(*) from round_problems where round_id in (select distinct round_id from pairs)"
        if not built:
            return None
        mine = int(store.value("select count(*) from round_problems where round_id = ?", round_.id))
        pairs = round(mine * built / max(1, int(store.value(sql))))
    return math.ceil(pairs / settings.training.batch_size) * settings.training.epochs
