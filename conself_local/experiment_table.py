"""The results of an experiment as Markdown: one row an arm, and below it one row a seed, with what made them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from statistics import fmean
from typing import Any

from conself_local.evaluation.compare import verdict
from conself_local.evaluation.statistics import bootstrap_over_seeds
from conself_local.experiment import Arm, SeedResult
from conself_local.session import package_versions
from conself_local.settings import settings_to_json

_HEAD = (
    "| arm | benchmark | seeds | problems | pairs | base | adapter | difference, points (95 %) | relative | parsed | crashed |",
    "|---|---|---|---|---|---|---|---|---|---|---|",
)
_SEED_HEAD = (
    "| arm | benchmark | seed | pass@1 | greedy | gained, lost | McNemar p | tokens an answer | pairs, steps | minutes | adapter |",
    "|---|---|---|---|---|---|---|---|---|---|---|",
)


def table_lines(results: Sequence[SeedResult]) -> list[str]:
    """One row an arm and benchmark: pass@1 in percent before and after, the difference with its interval over seeds and problems."""
    groups: dict[tuple[str, str], list[SeedResult]] = {}
    for one in results:
        groups.setdefault((one.arm.name, one.benchmark), []).append(one)
    return [*_HEAD, *(_row(arm, benchmark, group) for (arm, benchmark), group in groups.items())]


def _row(arm: str, benchmark: str, group: Sequence[SeedResult]) -> str:
    trained = [one for one in group if one.compared]
    pairs = " ".join(str(one.pairs) for one in group)
    if not trained:
        return f"| {arm} | {benchmark} | {len(group)} | | {pairs} | | | no adapter was trained | | | |"
    problems = sorted(trained[0].base)
    base = [[one.base[p] for p in problems] for one in trained]
    adapter = [[one.adapter[p] for p in problems] for one in trained]
    difference, low, high = bootstrap_over_seeds(base, adapter, seed=0)
    before, after = (100 * fmean(map(fmean, rows)) for rows in (base, adapter))
    relative = f"{100 * (after / before - 1):+.0f} %" if before else ""
    parsed, crashed = (_mean_change(trained, share) for share in ("parsed_share", "crashed_share"))
    return (
        f"| {arm} | {benchmark} | {len(trained)} | {len(problems)} | {pairs} | {before:.1f} | {after:.1f} | "
        f"{100 * difference:+.1f} ({100 * low:+.1f} to {100 * high:+.1f}) | {relative} | {parsed} | {crashed} |"
    )


def _mean_change(trained: Sequence[SeedResult], share: str) -> str:
    before, after = (fmean(one.compared[side][share] for one in trained if one.compared) for side in ("base", "adapter"))
    return f"{before:.2f} -> {after:.2f}"


def report_lines(name: str, results: Sequence[SeedResult]) -> list[str]:
    """The table, every seed, the settings of each arm, and the hashes and versions that the figures hang on."""
    lines = [f"# {name}", "", *table_lines(results), ""]
    for benchmark in dict.fromkeys(one.benchmark for one in results):
        looks = sum(one.looks for one in results if one.benchmark == benchmark)
        lines.append(f"- {benchmark}: judged on {looks} times.")
    lines += [
        f"- Tokens sampled, what arms share counted in each: {sum({(o.arm.name, o.seed): o.tokens for o in results}.values()):,}.",
        f"- Model: sha256 {', '.join(sorted({one.model_sha256 for one in results}))}.",
        f"- {', '.join(f'{package} {version}' for package, version in package_versions().items())}.",
        "", "## Seeds", "", *_SEED_HEAD, *map(_seed_row, results), "", "## Settings", "",
    ]  # fmt: skip
    arms = list({one.arm.name: one.arm for one in results}.values())
    first = settings_to_json(arms[0].settings)
    lines += [f"All of {arms[0].name}:", "", "```json", json.dumps(first, indent=2), "```", ""]
    return lines + [f"- {arm.name}: {_settings_words(arm, first)}" for arm in arms]


def _seed_row(one: SeedResult) -> str:
    begin = f"| {one.arm.name} | {one.benchmark} | {one.seed} |"
    if not one.compared:
        return f"{begin} no adapter was trained | | | | | {one.pairs}, 0 | {_minutes(one.seconds)} | |"
    base, adapter = one.compared["base"], one.compared["adapter"]
    return (
        f"{begin} {verdict(one.compared['difference'], *one.compared['interval_95'])} | "
        f"{100 * base['greedy_pass_at_1']:.1f} -> {100 * adapter['greedy_pass_at_1']:.1f} | "
        f"+{len(one.compared['gained'])} -{len(one.compared['lost'])} | {one.compared['mcnemar_p']:.3f} | "
        f"{base['mean_tokens']:.0f} -> {adapter['mean_tokens']:.0f} | {one.pairs}, {one.steps} | {_minutes(one.seconds)} | "
        f"{one.adapter_sha256[:16]} |"
    )


def _settings_words(arm: Arm, first: dict[str, Any]) -> str:
    words = [f"{arm.rounds} rounds"] if arm.rounds > 1 else []
    words += [f"{name} {value}" for name, value in settings_to_json(arm.settings).items() if value != first[name]]
    return ", ".join(words) or "these settings"


def _minutes(seconds: float) -> str:
    """Empty where an arm ran before its time was kept."""
    return f"{seconds / 60:.0f}" if seconds else ""
