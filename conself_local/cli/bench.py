"""Define the verb `bench`: which of my models, and which prompt, is best at my problems? One table with intervals.

The verb parses options and prints; `experiment/bench.py` does the work.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from conself_local.cli.options import (
    SEED,
    engine_option,
    json_option,
    no_gpu_option,
    open_store,
    sandbox_maker,
    slots_option,
    threads_option,
)
from conself_local.cli.output import echo
from conself_local.machine.resources import usable_cores
from conself_local.sampling.config import AUTO

if TYPE_CHECKING:
    from conself_local.experiment.bench import BenchArm
    from conself_local.model_files.model import Model
    from conself_local.settings import Prompt
    from conself_local.store.store import Store

_COLUMN = 20


@click.command()
@click.option(
    "--model",
    "models",
    type=click.Path(path_type=Path),
    multiple=True,
    help="GGUF file or folder of MLX weights; repeatable (default: the bundled model, unless --adapter names a model).",
)
@click.option(
    "--adapter", "adapters", type=int, multiple=True, help="Id of an adapter, asked with its own model; repeatable."
)
@click.option(
    "--benchmark", required=True, help="humaneval, held-out, validation, or a problems file: what the models are asked."
)
@click.option(
    "--prompt",
    "prompts",
    type=click.Choice(["observation", "plain", "completion"]),
    multiple=True,
    help="How a program is asked for, as the setting sampling.prompt; repeatable (default: as the preset laptop asks).",
)
@click.option(
    "--samples",
    type=click.IntRange(0, 64),
    default=8,
    show_default=True,
    help="Samples per problem beside the greedy answer, of which the consensus is taken.",
)
@click.option("--limit", type=int, help="Ask at most this many problems, drawn by the seed (default: all).")
@click.option("--seed", type=SEED, default=0, show_default=True, help="Seed of the samples and of the intervals.")
@slots_option
@threads_option
@engine_option
@no_gpu_option
@json_option
@click.pass_context
def bench(
    ctx: click.Context,
    models: tuple[Path, ...],
    adapters: tuple[int, ...],
    benchmark: str,
    prompts: tuple[Prompt, ...],
    samples: int,
    limit: int | None,
    seed: int,
    slots: int | None,
    threads: int | None,
    engine: str,
    no_gpu: bool,
    as_json: bool,
) -> None:
    """Compare models, adapters and prompts on a benchmark or on your own problems.

    The table shows the share of right greedy answers, of right samples, and of right consensus answers, each with its
    95 % interval over the problems; seconds and tokens per problem; and how far each model is from the first one.
    With several prompts, each model answers all of them; `conself run --set sampling.prompt=NAME` asks so in a round.
    Everything is stored as it is made: after a stop or a kill, the same command continues.
    """
    from conself_local.cli.progress import Progress
    from conself_local.experiment.bench import BenchPlan, find_problems, run_bench
    from conself_local.round.context import ComputeOptions

    compute = ComputeOptions(
        usable_cores(), threads, slots, use_gpu=not no_gpu, engine=None if engine == AUTO else engine
    )
    make_sandbox = sandbox_maker(ctx, compute.workers)
    with open_store(ctx) as (home, store):
        arms = arms_of(store, models, adapters, prompts)
    problems, notes = find_problems(benchmark, limit, seed, make_sandbox)
    plan = BenchPlan(benchmark, problems, samples, seed, notes)
    with Progress() as progress:
        result = run_bench(home, arms, plan, compute, make_sandbox, progress.on_event)
    if as_json:
        echo(json.dumps(result, indent=2))
    else:
        echo("\n".join(table_lines(result)))


def arms_of(
    store: Store, models: tuple[Path, ...], adapters: tuple[int, ...], prompts: tuple[Prompt, ...]
) -> list[BenchArm]:
    """Return what is compared, in the order of the options: models first, and each with all prompts.

    Without a prompt, each is asked as `laptop` asks. Raises ConselfError if a model or an adapter cannot be used.
    """
    from conself_local.experiment.bench import BenchArm
    from conself_local.model_files.bundled import bundled_model
    from conself_local.model_files.model import open_model, verify_adapter_of
    from conself_local.settings import LAPTOP
    from conself_local.store.model_changes import verify_model_of

    paths = list(dict.fromkeys(models)) or ([] if adapters else [bundled_model()])
    asked = list(dict.fromkeys(prompts)) or [LAPTOP.sampling.prompt]
    arms = []

    def add(label: str, model: Model, adapter: Path | None) -> None:
        for prompt in asked:
            arms.append(BenchArm(f"{label}, {prompt}" if len(asked) > 1 else label, model, adapter, prompt))

    for path in paths:
        add(_label(path, paths), open_model(path), None)
    for adapter_id in dict.fromkeys(adapters):
        row = store.adapter(adapter_id)
        model = open_model(Path(row["model_path"]) if row["model_path"] else bundled_model())
        verify_model_of(row, model)
        file = store.adapter_file(adapter_id)
        assert file is not None, "only the base model has no file"
        verify_adapter_of(file, model)
        add(f"{_label(model.path, paths)} + adapter {adapter_id}", model, file)
    return arms


def _label(path: Path, paths: list[Path]) -> str:
    """Return the name of a file, or its path if two files have the same name."""
    return path.name if sum(one.name == path.name for one in paths) < 2 else str(path)


def table_lines(result: dict[str, Any]) -> list[str]:
    """Return the table of `run_bench` as lines of text; shares as percentages with their 95 % intervals."""
    samples, arms = result["samples"], result["arms"]
    measures = {"greedy": "greedy", "sampled": "sampled", "consensus": f"consensus@{samples}"}
    if arms[0]["greedy"] is None:
        measures = {"agreement": f"agreement@{samples}", "ran": "programs that ran"}
    if not samples:
        measures = {name: title for name, title in measures.items() if name in ("greedy", "ran")}
    width = max(len("model"), *(len(arm["label"]) for arm in arms))
    lines = [
        f"{result['benchmark']}: {result['problems']} problems, one greedy answer and {samples} samples each; "
        "95 % intervals over the problems",
        *result["notes"],
        f"{'model':<{width}}  "
        + "".join(f"{name:<{_COLUMN}}" for name in measures.values())
        + f"{'s per problem':<16}{'tokens per problem'}",
    ]
    for arm in arms:
        lines.append(
            f"{arm['label']:<{width}}  " + "".join(f"{_share(arm[m]):<{_COLUMN}}" for m in measures) + _cost(arm)
        )
    lines += [line for arm in arms[1:] for line in _differences(arm, arms[0]["label"], measures)]
    return lines


def _share(value: list[float] | None) -> str:
    if value is None:
        return "-"
    mean, low, high = (100 * one for one in value)
    return f"{mean:.1f} ({low:.1f}-{high:.1f})"


def _cost(arm: dict[str, Any]) -> str:
    seconds = f"{arm['greedy_seconds']:.2f} + {arm['sampled_seconds']:.2f}"
    return f"{seconds:<16}{arm['greedy_tokens']:.0f} + {arm['sampled_tokens']:.0f}"


def _differences(arm: dict[str, Any], first: str, measures: dict[str, str]) -> list[str]:
    """Return one line that says how far an arm is from the first one, and whether that can be told from chance."""
    found = []
    for name, (difference, low, high) in arm["against_first"].items():
        if name in measures:
            word = "better" if low > 0 else "worse" if high < 0 else "no measurable difference"
            points = f"{100 * difference:+.1f} points ({100 * low:+.1f} to {100 * high:+.1f})"
            found.append(f"{measures[name]} {points}, {word}")
    return [f"{arm['label']} against {first}: {'; '.join(found)}"] if found else []
