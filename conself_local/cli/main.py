"""Define the command line `conself`: one verb per stage, `run` for all stages, and the other verbs.

The verbs parse options and print; every decision is made in the packages that they call. Data go to standard output,
progress and messages to standard error; `errors.py` lists the exit codes. Heavy modules are imported inside the verbs,
so that `conself --help` stays quick.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import click

from conself_local import __version__
from conself_local.cli.adapters import adapters, export, import_adapter
from conself_local.cli.bench import bench
from conself_local.cli.events import log, status
from conself_local.cli.group import Group
from conself_local.cli.maintenance import backup, doctor, prune, restore
from conself_local.cli.mine import forget
from conself_local.cli.models import ask, models, serve
from conself_local.cli.options import (
    SEED,
    LayerName,
    engine_option,
    json_option,
    model_option,
    no_gpu_option,
    open_home,
    open_store,
    sandbox_maker,
    slots_option,
    threads_option,
    with_options,
)
from conself_local.cli.output import echo
from conself_local.cli.pairs import (
    OWN_PARAMETERS,
    PAIRS_OPTIONS,
    TRAIN_OPTIONS,
    train_on_pairs_file,
    write_pairs_of_round,
)
from conself_local.cli.problems import harvest, problems
from conself_local.cli.schedule import night, schedule
from conself_local.cli.settings import choice_options, experiment_schema_option, settings, take_choice
from conself_local.errors import EXIT_FAILED, ConselfError
from conself_local.machine.resources import usable_cores
from conself_local.model_files.converted_weights import FORMAT_CHOICES
from conself_local.sampling.config import AUTO, LLAMA_CPP, OPENVINO


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="conself")
@click.option(
    "--home",
    type=click.Path(path_type=Path),
    help="Folder of the store, the adapters and the downloaded models (default: conself-local in your data folder).",
)
@click.option(
    "--accept-weaker-sandbox",
    "weaker",
    multiple=True,
    metavar="NAME",
    type=LayerName(),
    help="Run even if this computer lacks this protection of the sandbox: landlock, seccomp or capabilities, on macOS "
    "seatbelt; repeatable.",
)
@click.pass_context
def main(ctx: click.Context, home: Path | None, weaker: tuple[str, ...]) -> None:
    """Teach a quantized coding model to code better, on your own computer, offline.

    Begin with `conself run`. `conself VERB --help` explains a verb and its options.
    """
    ctx.obj = {"home": home, "weaker": weaker}


_run_options = [
    model_option,
    click.option(
        "--problems",
        type=click.Path(path_type=Path),
        help="Problems file, or `mine` for the questions that you asked (default: the starter pack).",
    ),
    click.option(
        "--with-mine",
        is_flag=True,
        help="Train on all questions that you asked too, whatever --problems says.",
    ),
    *choice_options,
    click.option("--limit", type=int, help="Train on at most this many problems, drawn by the seed (default: all)."),
    click.option(
        "--seed", type=SEED, help="Seed of the round's random choices (default: 0, then 1 above the highest so far)."
    ),
    click.option(
        "--benchmark",
        "benchmarks",
        multiple=True,
        help="Benchmark to evaluate on: validation, held-out or humaneval; repeatable "
        "(default: validation and held-out).",
    ),
    click.option(
        "--ask-for-inputs",
        is_flag=True,
        help="Also let the model propose test inputs, in addition to mutated inputs.",
    ),
    click.option("--from-base", is_flag=True, help="Start from the base model instead of the latest accepted adapter."),
    click.option("--new", is_flag=True, help="Abandon an unfinished round and start a new one."),
    slots_option,
    threads_option,
    click.option(
        "--weights-format",
        "--running-copy",
        "weights_format",
        type=click.Choice(FORMAT_CHOICES),
        default="auto",
        help="Number format of the weights to sample from: auto takes what `conself tune` found, else converted 16-bit "
        "weights if they are likely to be faster here; shipped is the original file (default: auto).",
    ),
    engine_option,
    no_gpu_option,
    click.option(
        "--endpoint",
        "endpoints",
        multiple=True,
        metavar="URL",
        help="Sample from an OpenAI-compatible server that runs the same model; repeatable: several servers share the "
        "work.",
    ),
    click.option(
        "--endpoint-model",
        default="default",
        metavar="NAME",
        show_default=True,
        help="Name of the model at the endpoint.",
    ),
    click.option(
        "--accept-remote-endpoint",
        is_flag=True,
        help="Allow an endpoint that is not on this computer; it receives the problems.",
    ),
    json_option,
]


@main.command()
@with_options(*_run_options)
@click.option(
    "--rounds",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Number of rounds to run, one after another, with a new seed each; to continue a run that was stopped, omit "
    "--seed and --new, and ask for what is left.",
)
@click.pass_context
def run(ctx: click.Context, /, rounds: int, **options: Any) -> None:
    """Run a whole round, or continue an unfinished one.

    The stages: sample programs, execute them in the sandbox, augment the test inputs, score, build pairs, train an
    adapter, evaluate it, and decide whether to keep it. After a stop with Ctrl-C, `conself run` continues the round.
    """
    for number in range(rounds):
        if number:
            options |= {"new": False, "from_base": False, "seed": None}
        _run(ctx, "decide", **options)


def _stage_command(
    name: str,
    until: str,
    help_text: str,
    own_options: Sequence[Any] = (),
    instead: Callable[..., bool] = lambda ctx, **options: False,
) -> None:
    """Add the verb `name`, which runs a round up to the end of stage `until`.

    `instead` gets all options first, `own_options` included, and returns whether they asked for something else, which
    it has done then.
    """

    @main.command(name, help=f"{help_text} An unfinished round is continued.")
    @with_options(*own_options, *_run_options)
    @click.pass_context
    def command(ctx: click.Context, /, **options: Any) -> None:
        if not instead(ctx, **options):
            _run(ctx, until, **{key: value for key, value in options.items() if key not in OWN_PARAMETERS})


_stage_command("sample", "sample", "Run a round until its programs are sampled.")
_stage_command("execute", "execute", "Run a round until its programs have run in the sandbox.")
_stage_command("grow", "grow", "Run a round until its test inputs are augmented.")
_stage_command("score", "score", "Run a round until its problems are scored and selected.")
_stage_command(
    "pairs",
    "pair",
    "Run a round until its preference pairs are built; with --to, only write the pairs of a round to a file.",
    PAIRS_OPTIONS,
    write_pairs_of_round,
)
_stage_command(
    "train",
    "train",
    "Run a round until its adapter is trained; with --pairs, train an adapter on a file of pairs instead.",
    TRAIN_OPTIONS,
    train_on_pairs_file,
)
_stage_command("evaluate", "evaluate", "Run a round until its adapter is evaluated.")


def _run(
    ctx: click.Context,
    until: str,
    *,
    slots: int | None,
    threads: int | None,
    weights_format: str,
    engine: str,
    as_json: bool,
    no_gpu: bool,
    endpoints: tuple[str, ...],
    endpoint_model: str,
    accept_remote_endpoint: bool,
    benchmarks: tuple[str, ...],
    **requested: Any,
) -> None:
    """Run a round up to the end of stage `until`, and print its report; the options are those of `_run_options`."""
    from conself_local.cli.progress import Progress, print_report
    from conself_local.events import START, Notice, NoticeKind
    from conself_local.model_files.ollama import ignored_layers
    from conself_local.round.context import ComputeOptions, Endpoint, RoundContext, workers_beside_engine
    from conself_local.round.log import RoundLog
    from conself_local.round.recorder import NoticeRecorder
    from conself_local.round.run import STAGES, run_round
    from conself_local.round.start import Request, open_round
    from conself_local.settings import describe_settings

    remote = Endpoint(endpoints, endpoint_model, accept_remote_endpoint) if endpoints else None
    compute = ComputeOptions(
        usable_cores(),
        threads,
        slots,
        None if weights_format == "auto" else weights_format,
        remote,
        not no_gpu,
        None if engine == AUTO else engine,
    )
    make_sandbox = sandbox_maker(ctx, compute.workers)
    trains = STAGES.index(until) >= STAGES.index("train")
    choice = take_choice(ctx, requested)
    request = Request(**requested, choice=choice, benchmarks=benchmarks or None, trains=trains)
    with open_store(ctx) as (home, store), home.lock():
        round_, model, round_benchmarks = open_round(store, request, make_sandbox)
        title = f"round {round_.id} on {model.name} ({model.path.name}), {describe_settings(round_.settings)}"
        with (
            Progress() as progress,
            RoundLog(home, title, progress.on_event) as log,
            NoticeRecorder(store, round_.id, log.on_event) as recorder,
        ):
            progress.print_line(title)
            for ignored in ignored_layers(model.path):
                recorder.on_event(Notice(ignored, NoticeKind.LAYER_IGNORED, START))
            context = RoundContext(
                store,
                home,
                model,
                compute,
                sandbox_maker(ctx, compute.workers, recorder.on_event),
                sandbox_maker(ctx, workers_beside_engine(compute, model), recorder.on_event),
                recorder.on_event,
            )
            report = run_round(context, round_, round_benchmarks, until)
    if as_json:
        echo(json.dumps(report, indent=2))
    else:
        print_report(report)


@main.command()
@model_option
@click.option(
    "--allow-loss", is_flag=True, help="Also try formats that lose quality (Q8_0, Q4_0), and measure the loss."
)
@click.option(
    "--engine",
    type=click.Choice([AUTO, LLAMA_CPP, OPENVINO]),
    default=AUTO,
    help="Engine to measure; auto: llama.cpp, and openvino if it is installed and reads the model (default: auto).",
)
@json_option
@click.pass_context
def tune(ctx: click.Context, model: Path | None, allow_loss: bool, engine: str, as_json: bool) -> None:
    """Find the fastest sampling settings for this computer.

    Engines, number formats, slots and threads are tried. Takes about a minute for small models. Later rounds on the
    model use the result.
    """
    from conself_local.model_files.bundled import bundled_model
    from conself_local.model_files.model import open_model
    from conself_local.sampling.tuning import tune_model

    home = open_home(ctx)
    tuning = tune_model(
        open_model(model or bundled_model()),
        home.cache,
        allow_loss,
        lambda line: echo(line, err=True),
        None if engine == AUTO else engine,
    )
    if as_json:
        echo(json.dumps(dataclasses.asdict(tuning), indent=2))
    else:
        echo(f"used from now on: {tuning}")


@main.command()
@click.argument("path", type=click.Path(path_type=Path))
@experiment_schema_option
@click.option(
    "--folder",
    type=click.Path(path_type=Path),
    help="Folder for the homes of the arms (default: experiments/NAME in the home).",
)
@click.option(
    "--report",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Markdown file for the results, seeds, settings and hashes, updated whenever an arm ends. Results in the "
    ".jsonl file beside it are not computed again.",
)
@click.option("--model", type=click.Path(path_type=Path), help="GGUF file to use instead of the one that PATH names.")
@click.option("--problems", type=click.Path(path_type=Path), help="Problems to use instead of those that PATH names.")
@click.option("--arm", "arms", multiple=True, metavar="NAME", help="Run only this arm; repeatable (default: all).")
@threads_option
@slots_option
@click.pass_context
def experiment(
    ctx: click.Context,
    path: Path,
    folder: Path | None,
    report: Path | None,
    model: Path | None,
    problems: Path | None,
    arms: tuple[str, ...],
    threads: int | None,
    slots: int | None,
) -> None:
    """Run an experiment and print a table of its results.

    PATH is a TOML file that names arms and seeds; the table is Markdown. Finished work is not repeated, so an
    experiment that was stopped continues.
    """
    from conself_local.cli.progress import Progress
    from conself_local.experiment.results import SeedResult
    from conself_local.experiment.run import run_experiment
    from conself_local.experiment.spec import read_experiment
    from conself_local.experiment.table import report_lines, summary_lines
    from conself_local.new_files import whole_file
    from conself_local.round.context import ComputeOptions

    spec = read_experiment(path)
    spec = dataclasses.replace(spec, model=model or spec.model, problems=problems or spec.problems)
    compute = ComputeOptions(usable_cores(), threads, slots)
    target = folder or open_home(ctx).path / "experiments" / spec.name.replace("/", "-")
    results: list[SeedResult] = []
    results_file = report.with_suffix(".jsonl") if report else None
    with Progress() as progress:
        make_sandbox = partial(sandbox_maker, ctx)
        for result in run_experiment(spec, target, compute, make_sandbox, progress.on_event, results_file, arms):
            results.append(result)
            if report:
                with whole_file(report) as part:
                    part.write_text("\n".join(report_lines(spec.name, results, spec.weights)) + "\n", encoding="utf-8")
    for line in summary_lines(results, spec.weights):
        echo(line)


@main.command()
@json_option
@click.pass_context
def verify(ctx: click.Context, as_json: bool) -> None:
    """Recompute the stored results and report differences.

    Hashes, entropies, consensus, pairs and evaluations are recomputed from the stored data. The exit code is 1 if
    something differs.
    """
    from conself_local.round.verify import verify_store

    with open_store(ctx, existing=True) as (_, store):
        found = verify_store(store)
    if as_json:
        echo(json.dumps({"differences": found}, indent=2))
    else:
        for sentence in found:
            echo(sentence)
        echo(f"{len(found)} differences" if found else "nothing differs")
    if found:
        sys.exit(EXIT_FAILED)


@main.command()
@click.pass_context
def tui(ctx: click.Context) -> None:
    """Open the terminal user interface."""
    if not all(stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr)) or os.environ.get("TERM") == "dumb":
        raise ConselfError(
            "the screens need a terminal for input and output, and TERM must not be `dumb`",
            "run it in a terminal, or use the other commands: conself --help",
        )
    arguments = ["--home", str(ctx.obj["home"])] if ctx.obj["home"] else []
    os.execv(sys.executable, [sys.executable, "-m", "tui", *arguments])


for command in (
    status, log, adapters, export, import_adapter, problems, harvest, models, ask, serve, bench, settings, schedule,
    night, forget, doctor, prune, backup, restore,
):  # fmt: skip
    main.add_command(command)
