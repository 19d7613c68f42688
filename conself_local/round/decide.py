"""Stage 9, `decide`: accept the adapter of a round or reject it, and say why in words.

Two things are asked: whether mean pass@1 on the validation problems is not below that of the model before, and, without
labels, whether the guard (`method/guard.py`) finds no loss of variety. Not covered: measuring either.
"""

from __future__ import annotations

import json

from conself_local.stages.guard import guard_answers
from conself_local.store.store import RoundInfo, Store

GUARD = "guard"
"""Name in the table `stages` under which the guard's result is kept."""


def decide(store: Store, round_: RoundInfo, adapter_id: int | None) -> str:
    """Set the state of the round's adapter and return the verdict, one sentence for the user.

    Without an adapter, or without a result on the validation split, nothing is decided, and the verdict says so.
    """
    raw = store.value("select result from evaluations where round_id = ? and benchmark = 'validation'", round_.id)
    if adapter_id is None:
        return "no adapter was trained, so the model is unchanged"
    if raw is None:
        return "the validation split was not evaluated, so the adapter remains a candidate"
    difference = json.loads(raw)["difference"]
    points = f"{100 * difference:+.1f} points pass@1 on the validation split"
    refusals = _ask_guard(store, round_)
    accepted = difference >= 0 and not refusals
    store.set_adapter_state(adapter_id, "accepted" if accepted else "rejected")
    if accepted:
        return f"accepted: {points}, not below zero; the next round starts from this adapter"
    reasons = [] if difference >= 0 else [f"{points}, below zero, if only by chance"]
    return f"rejected: {'; '.join(reasons + refusals)}; the model is unchanged"


def _ask_guard(store: Store, round_: RoundInfo) -> list[str]:
    """Store what the guard found, in words, and return it if the guard refuses the round; empty if it is off."""
    if not round_.settings.acceptance.guard:
        return []
    result = guard_answers(store, round_)
    store.finish_stage(round_.id, GUARD, result.sentence())
    return [result.sentence()] if result.refusals else []
