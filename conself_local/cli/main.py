"""The command line: one verb a stage, and `run` for all of them. It prints; it decides nothing.

Heavy parts are imported inside the verbs, so that `conself --help` stays quick. Standard output is data,
standard error is talk; exit codes are in `errors.py`.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import sqlite3
import sys
from functools import partial
from pathlib import Path
from typing import Any

import click

from conself_local import __version__
from conself_local.cli.models import ask, models, serve
from conself_local.cli.options import json_option, open_store, sandbox_maker
from conself_local.cli.problems import harvest, problems
from conself_local.errors import EXIT_FAILED, EXIT_STOPPED, EXIT_USAGE, ConselfError
from conself_local.machine.resources import usable_cores
from conself_local.model_files.converted_weights import FORMATS


class _Group(click.Group):
    """The one edge where errors become a message, a way out and an exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        signal.signal(
            signal.SIGTERM, signal.default_int_handler
        )  # SIGINT is ignored by what a shell starts behind itself
        try:
            return super().invoke(ctx)
        except ConselfError as error:
            _fail(error.message, error.hint)
        except KeyboardInterrupt:
            click.echo("stopped; what was stored stays, and the same command goes on", err=True)
            sys.exit(EXIT_STOPPED)
        except sqlite3.DatabaseError as error:
            _fail(f"the store cannot be read or written: {error}", "check the disk; `conself verify` checks the store")
        except BrokenPipeError:
            raise  # who reads the output has read enough; click ends without a word
        except OSError as error:
            _fail(
                f"{error.strerror or error}: {error.filename or ''}".rstrip(": "), "check the disk and the permissions"
            )
        except Exception as error:
            from sandbox import SandboxError  # not at the top: --help stays fast

            if not isinstance(error, SandboxError):
                raise
            _fail(str(error), "`conself doctor` tells more; --accept-weaker-sandbox=NAME runs without a protection")


def _fail(message: str, hint: str) -> None:
    click.echo(f"conself: {message}", err=True)
    if hint:
        click.echo(f"  -> {hint}", err=True)
    sys.exit(EXIT_USAGE)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="conself")
@click.option("--home", type=click.Path(path_type=Path), help="Where everything is kept (default: your data folder).")
@click.option(
    "--accept-weaker-sandbox",
    "weaker",
    multiple=True,
    metavar="NAME",
    type=click.Choice(["landlock", "seccomp", "capabilities"]),
    help="Run although this computer lacks the named protection.",
)
@click.pass_context
def main(ctx: click.Context, home: Path | None, weaker: tuple[str, ...]) -> None:
    """A quantized coding model teaches itself to code better, on your own machine, offline."""
    ctx.obj = {"home": home, "weaker": weaker}


_run_options = [
    click.option("--model", type=click.Path(path_type=Path), help="A GGUF file (default: the bundled model)."),
    click.option("--problems", type=click.Path(path_type=Path), help="A problems file (default: the starter pack)."),
    click.option("--preset", type=click.Choice(["laptop", "paper"]), help="Default: laptop."),
    click.option("--limit", type=int, help="Only so many training problems, drawn by the seed."),
    click.option("--seed", type=int, help="Default: 0."),
    click.option(
        "--benchmark",
        "benchmarks",
        multiple=True,
        help="validation, held-out (both: the default), humaneval; repeatable.",
    ),
    click.option(
        "--ask-for-inputs",
        is_flag=True,
        help="Let the model propose test inputs too, beside neighbours of the given ones.",
    ),
    click.option("--from-base", is_flag=True, help="Begin from the base model, not from the last accepted adapter."),
    click.option("--new", is_flag=True, help="Leave an unfinished round behind and begin another."),
    click.option("--slots", type=click.IntRange(1, 256), help="Sequences sampled at once (default: as tuned, or 64)."),
    click.option("--threads", type=click.IntRange(1), help="Threads of the engine (default: as tuned, or all cores)."),
    click.option(
        "--weights-format",
        "--running-copy",
        "weights_format",
        type=click.Choice(["auto", *FORMATS]),
        default="auto",
        help="What to sample from: auto takes what `conself tune` found, or a 16-bit copy where that pays.",
    ),
    click.option(
        "--no-gpu", is_flag=True, help="Sample on the processor although llama.cpp could use a graphics card."
    ),
    click.option("--endpoint", metavar="URL", help="Sample from an OpenAI-compatible server that runs the same model."),
    click.option("--endpoint-model", default="default", metavar="NAME", help="The model's name at the endpoint."),
    click.option(
        "--accept-remote-endpoint", is_flag=True, help="Send problems to an endpoint that is not on this machine."
    ),
    json_option,
]


def _with_run_options(function: Any) -> Any:
    for option in reversed(_run_options):
        function = option(function)
    return function


@main.command()
@_with_run_options
@click.option("--rounds", type=click.IntRange(1), default=1, help="How many rounds, one after the other.")
@click.pass_context
def run(ctx: click.Context, /, rounds: int, **options: Any) -> None:
    """Run a whole round (or go on with an unfinished one): sample, execute, score, pair, train, evaluate, decide."""
    for number in range(rounds):
        if number:
            options |= {"new": False, "from_base": False, "seed": (options["seed"] or 0) + 1}
        _run(ctx, "decide", **options)


def _stage_command(name: str, until: str, help_text: str) -> None:
    @main.command(name, help=help_text)
    @_with_run_options
    @click.pass_context
    def command(ctx: click.Context, /, **options: Any) -> None:
        _run(ctx, until, **options)


_stage_command("sample", "sample", "Run the round up to its samples.")
_stage_command("execute", "execute", "Run the round up to the executed programs.")
_stage_command("grow", "grow", "Run the round up to the test inputs that it adds.")
_stage_command("score", "score", "Run the round up to entropy and selection.")
_stage_command("pairs", "pair", "Run the round up to its preference pairs.")
_stage_command("train", "train", "Run the round up to its adapter.")
_stage_command("evaluate", "evaluate", "Run the round up to the comparison of base and adapter.")


def _run(
    ctx: click.Context,
    until: str,
    *,
    slots: int | None,
    threads: int | None,
    weights_format: str,
    as_json: bool,
    no_gpu: bool,
    endpoint: str | None,
    endpoint_model: str,
    accept_remote_endpoint: bool,
    benchmarks: tuple[str, ...],
    **asked: Any,
) -> None:
    from conself_local.cli.progress import Progress, print_report
    from conself_local.round.context import ComputeOptions, Endpoint, RoundContext
    from conself_local.round.run import run_round
    from conself_local.round.start import Request, open_round

    elsewhere = Endpoint(endpoint, endpoint_model, accept_remote_endpoint) if endpoint else None
    compute = ComputeOptions(
        usable_cores(), threads, slots, None if weights_format == "auto" else weights_format, elsewhere, not no_gpu
    )
    make_sandbox = sandbox_maker(ctx, compute.workers)
    request = Request(**asked, benchmarks=benchmarks or None)
    with open_store(ctx) as (home, store), home.lock():
        round_, model, judged_on = open_round(store, request, make_sandbox)
        with Progress() as progress:
            progress.say(f"round {round_.id} on {model.name} ({model.path.name}), preset {round_.settings.preset}")
            context = RoundContext(
                store,
                home,
                model,
                compute,
                make_sandbox,
                sandbox_maker(ctx, compute.overlap_workers),
                progress.on_event,
            )
            report = run_round(context, round_, judged_on, until)
    if as_json:
        click.echo(json.dumps(report, indent=2))
    else:
        print_report(report)


@main.command()
@click.option("--model", type=click.Path(path_type=Path), help="A GGUF file (default: the bundled model).")
@click.option(
    "--allow-loss", is_flag=True, help="Also try formats that lose quality (Q8_0, Q4_0); the loss is measured."
)
@json_option
@click.pass_context
def tune(ctx: click.Context, model: Path | None, allow_loss: bool, as_json: bool) -> None:
    """Find out what samples fastest here: number format, slots, threads. Under a minute for small models."""
    from conself_local.home import Home
    from conself_local.model_files.bundled import bundled_model
    from conself_local.model_files.model_file import load_model_file
    from conself_local.sampling.tuning import tune_model

    home = Home(ctx.obj["home"])
    tuning = tune_model(
        load_model_file(model or bundled_model()), home.cache, allow_loss, lambda line: click.echo(line, err=True)
    )
    if as_json:
        click.echo(json.dumps(dataclasses.asdict(tuning), indent=2))
    else:
        click.echo(f"from now on: {tuning}")


@main.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option(
    "--folder",
    type=click.Path(path_type=Path),
    help="Where its homes are kept (default: experiments/NAME in the home).",
)
@click.option(
    "--report",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Markdown, written as arms end: seeds, settings, hashes. What is in the .jsonl beside it is not run again.",
)
@click.option("--model", type=click.Path(path_type=Path), help="In place of the file's.")
@click.option("--problems", type=click.Path(path_type=Path), help="In place of the file's.")
@click.option("--threads", type=click.IntRange(1), help="Threads of the engine (default: as tuned, or all cores).")
@click.option("--slots", type=click.IntRange(1, 256), help="Sequences sampled at once (default: as tuned, or 64).")
@click.pass_context
def experiment(
    ctx: click.Context,
    path: Path,
    folder: Path | None,
    report: Path | None,
    model: Path | None,
    problems: Path | None,
    threads: int | None,
    slots: int | None,
) -> None:
    """Run the arms and seeds that a TOML file names, or go on with them; prints one table (Markdown)."""
    from conself_local.cli.progress import Progress
    from conself_local.experiment.results import SeedResult
    from conself_local.experiment.run import run_experiment
    from conself_local.experiment.spec import read_experiment
    from conself_local.experiment.table import between_arms_lines, report_lines, table_lines
    from conself_local.home import Home
    from conself_local.round.context import ComputeOptions

    wanted = read_experiment(path)
    wanted = dataclasses.replace(wanted, model=model or wanted.model, problems=problems or wanted.problems)
    compute = ComputeOptions(usable_cores(), threads, slots)
    target = folder or Home(ctx.obj["home"]).path / "experiments" / wanted.name
    results: list[SeedResult] = []
    kept = report.with_suffix(".jsonl") if report else None
    with Progress() as progress:
        make_sandbox = partial(sandbox_maker, ctx)
        for result in run_experiment(wanted, target, compute, make_sandbox, progress.on_event, kept):
            results.append(result)
            if report:
                report.write_text("\n".join(report_lines(wanted.name, results)) + "\n", encoding="utf-8")
    for line in [*table_lines(results), *between_arms_lines(results)]:
        click.echo(line)


@main.command()
@click.option("--round", "round_id", type=int, help="Default: the latest.")
@json_option
@click.pass_context
def status(ctx: click.Context, round_id: int | None, as_json: bool) -> None:
    """Where a round is, and its report so far; may be asked while it runs."""
    from conself_local.cli.progress import print_progress, print_report
    from conself_local.store.reports import progress, round_report

    with open_store(ctx, existing=True) as (_, store):
        latest = store.latest_round()
        if latest is None:
            raise ConselfError("this home has no round yet", "begin one with: conself run")
        wanted = latest.id if round_id is None else store.round(round_id).id
        report, rows = round_report(store, wanted), progress(store, wanted)
    if as_json:
        click.echo(json.dumps(report | {"progress": rows}, indent=2))
    else:
        print_progress(rows)
        print_report(report)


@main.command()
@json_option
@click.pass_context
def adapters(ctx: click.Context, as_json: bool) -> None:
    """List the adapters of this home, their lineage and their files."""
    with open_store(ctx, existing=True) as (_, store):
        rows = store.rows("select * from adapters order by id")
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    for row in rows:
        parent = (
            f"from adapter {row['parent_id']}"
            if row["parent_id"]
            else "from the base model"
            if row["round_id"]
            else "imported"
        )
        click.echo(f"{row['id']:>3} {row['name']:<16} {row['state']:<10} {parent:<20} {row['gguf_path']}")
    if not rows:
        click.echo("no adapters yet; `conself run` trains one", err=True)


@main.command()
@click.argument("adapter_id", type=int)
@click.option(
    "--as",
    "form",
    type=click.Choice(["gguf-lora", "peft", "mlx", "merged"]),
    default="merged",
    show_default=True,
    help="merged: the model's own file with the adapter in it, for Ollama, LM Studio and others.",
)
@click.option(
    "--number-format", type=click.Choice(FORMATS), default="shipped", show_default=True, help="Of a merged file."
)
@click.option("--to", "target", type=click.Path(path_type=Path), required=True, help="The file or folder to write.")
@click.pass_context
def export(ctx: click.Context, adapter_id: int, form: Any, number_format: str, target: Path) -> None:
    """Write an adapter for other tools; a merged file is asked how much of the change it kept."""
    from conself_local.adapters.export import export_adapter

    with open_store(ctx, existing=True) as (home, store):
        for sentence in export_adapter(store, home, adapter_id, form, number_format, target):
            click.echo(sentence)


@main.command("import-adapter")
@click.argument("path", type=click.Path(path_type=Path))
@click.option(
    "--model", type=click.Path(path_type=Path), help="The GGUF file it was made for (default: the bundled model)."
)
@click.option("--name", help="Default: the name of the file or folder.")
@click.option("--use", is_flag=True, help="The next round on this model begins with it.")
@click.pass_context
def import_adapter(ctx: click.Context, path: Path, model: Path | None, name: str | None, use: bool) -> None:
    """Take in a LoRA adapter from elsewhere: a GGUF file, or a folder of PEFT or mlx-lm. Safetensors and GGUF only."""
    from conself_local.adapters.importing import import_adapter as take_in
    from conself_local.model_files.bundled import bundled_model
    from conself_local.model_files.model_file import load_model_file

    with open_store(ctx) as (home, store):
        described = load_model_file(model or bundled_model())
        name = name or path.resolve().stem
        adapter_id = take_in(store, home, path, described, name, use=use)
        click.echo(f"adapter {adapter_id}: {name}" + (", used by the next round" if use else ""))


@main.command()
@json_option
@click.pass_context
def verify(ctx: click.Context, as_json: bool) -> None:
    """Derive hashes, entropies, consensus, pairs and results again from what is stored; name what differs."""
    from conself_local.round.verify import verify_store

    with open_store(ctx, existing=True) as (_, store):
        found = verify_store(store)
    if as_json:
        click.echo(json.dumps({"differences": found}, indent=2))
    else:
        for sentence in found:
            click.echo(sentence)
        click.echo(f"{len(found)} differences" if found else "nothing differs")
    if found:
        sys.exit(EXIT_FAILED)


@main.command()
@json_option
@click.pass_context
def doctor(ctx: click.Context, as_json: bool) -> None:
    """This computer: what the sandbox guarantees on it, memory, the bundled model, HumanEval."""
    from conself_local.cli.doctor import diagnose, print_diagnosis

    found = diagnose(ctx.obj["home"])
    if as_json:
        click.echo(json.dumps(found, indent=2))
    else:
        print_diagnosis(found)


@main.command()
@click.pass_context
def tui(ctx: click.Context) -> None:
    """Open the terminal UI."""
    arguments = ["--home", str(ctx.obj["home"])] if ctx.obj["home"] else []
    os.execv(sys.executable, [sys.executable, "-m", "tui", *arguments])


for command in (problems, harvest, models, ask, serve):
    main.add_command(command)
