"""Say in one sentence why a problem is, or is not, one that a round learns from.

Pure functions over what `views.py` read. Not covered: the rule itself (`method/curriculum.py`).
"""

from __future__ import annotations

from conself_local.round.views import ProblemRow
from conself_local.settings import Settings


def why_class(row: ProblemRow, settings: Settings) -> str:
    """Return the reason for the class of a problem, with the numbers that decided."""
    if row.score is None:
        return "Not scored yet: its programs are still being sampled or run."
    if row.kind == "crashed":
        return _crashed(row, settings)
    if row.kind == "too easy":
        alike = "only one program ran" if row.score.valid == 1 else f"all {row.score.valid} valid programs behave alike"
        return f"Not selected: {alike}, so there is nothing to prefer."
    groups = f"{row.score.valid} valid programs fall into {row.clusters} groups"
    cut = settings.selection.entropy_threshold
    measured = f"normalised disagreement {row.normalised or 0:.2f} ({settings.selection.entropy_normalisation})"
    if row.kind == "too hard" and cut is not None:
        return (
            f"Not selected: {groups}, and their {measured} is not below the cut of {cut:.2f}. "
            "The model is too unsure for its majority to be trusted."
        )
    if cut is None:
        selected = f"Selected: {groups}, so there is something to prefer (there is no cut on disagreement)."
    else:
        selected = f"Selected: {groups}, and their {measured} is below the cut of {cut:.2f}."
    return f"{selected} {_pairs(row, settings)}"


def _crashed(row: ProblemRow, settings: Settings) -> str:
    if row.score is not None and row.score.valid == 0:
        return "Not selected: no program ran on any input, so there is no majority to learn from."
    return (
        f"Not selected: {row.crash_rate:.0%} of its programs failed on every input, and from "
        f"{settings.selection.max_crash_rate:.0%} on a problem is left out."
    )


def _pairs(row: ProblemRow, settings: Settings) -> str:
    if row.pairs:
        return f"It gives {row.pairs} pair{'s' * (row.pairs != 1)}."
    if settings.pairs.min_cluster_share:
        return (
            "But it gives no pair: no group holds enough of the programs that ran "
            f"(at least {settings.pairs.min_cluster_share:.0%}), or none of the others may be rejected."
        )
    return "But it gives no pair: no program may be chosen above another one."
