"""Format the result of one benchmark as lines of text, for `conself status`, the end of a round and the screens.

Results of the first version are shown as far as they go: they have no consensus, no cut answers and no ranking.
Not covered: the figures (`compare.py`), and the tables of experiments (`experiment/table.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from conself_local.evaluation.verdict import Change

_KS_PER_LINE = 10
_UNKNOWN = "-"
_WIDTHS = (7, 9, 14, 8, 8, 9, 7)


def result_lines(name: str, result: Mapping[str, Any]) -> list[str]:
    """Return the lines of one benchmark: both arms, pass@k for all k, the gap closed, A, and the verdict.

    All of them fit into 80 columns, but for the verdict and the names of gained and lost problems.
    """
    samples = result["samples_per_problem"]
    lines = [f"{name}: {result['problems']} problems, {samples} samples and one greedy answer each"]
    of = result.get("consensus_samples")
    consensus = f"consensus@{of}" if of else "consensus"
    lines.append(_columns("", "greedy", "sampled", consensus, "tokens", "parsed", "crashed", "cut"))
    lines += [_arm_line(arm, result[arm]) for arm in ("base", "adapter")]
    lines += _reach_lines(result)
    if closed := result.get("closed"):
        share = closed.get("share")
        text = f"not stated: {closed['reason']}" if share is None else f"{share:.2f}"
        lines.append(f"  share of the gap to {consensus} closed by training: {text}")
    if ranking := result.get("ranking"):
        lines.append(f"  {_ranking_text(ranking)}")
    lines.append(f"  {result['verdict']}; McNemar on greedy p = {result['mcnemar_p']:.3f}")
    return lines + [f"  {what} (greedy): {', '.join(result[what])}" for what in ("gained", "lost") if result[what]]


def _arm_line(arm: str, values: Mapping[str, Any]) -> str:
    shares = [values["greedy_pass_at_1"], values["pass_at"].get("1"), values.get("consensus")]
    greedy, sampled, consensus = map(_share, shares)
    parsed, crashed, cut = (_share(values.get(f"{what}_share")) for what in ("parsed", "crashed", "cut"))
    return _columns(arm, greedy, sampled, consensus, f"{values['mean_tokens']:.0f}", parsed, crashed, cut)


def _columns(arm: str, *texts: str) -> str:
    return f"  {arm:<8}" + "".join(f"{text:>{width}}" for text, width in zip(texts, _WIDTHS, strict=True))


def _share(value: float | None) -> str:
    return _UNKNOWN if value is None else f"{value:.3f}"


def _reach_lines(result: Mapping[str, Any]) -> list[str]:
    """Return pass@k of both arms for every k, ten of them side by side."""
    ks = [k for k in result["base"]["pass_at"] if k in result["adapter"]["pass_at"]]
    lines = []
    for start in range(0, len(ks), _KS_PER_LINE):
        some = ks[start : start + _KS_PER_LINE]
        lines.append(f"  {'pass@k':<8}" + "".join(f"{k:>7}" for k in some))
        for arm in ("base", "adapter"):
            lines.append(f"  {arm:<8}" + "".join(f"{result[arm]['pass_at'][k]:>7.3f}" for k in some))
    return lines


def _ranking_text(ranking: Mapping[str, Any]) -> str:
    if "base" not in ranking:
        return f"ranking measure A: not measured: {ranking['reason']}"
    change = Change(ranking["difference"], *ranking["interval_95"])
    return (
        f"ranking measure A: {ranking['base']:.3f} -> {ranking['adapter']:.3f}, points {change}, "
        f"on {ranking['programs']} programs of {ranking['problems']} problems"
    )
