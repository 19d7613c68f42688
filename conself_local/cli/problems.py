"""The verbs about problems: list, check and import files, and harvest one's own code."""

from __future__ import annotations

import json
import sys
from importlib.resources import files
from pathlib import Path

import click

from conself_local.cli.options import json_option, sandbox_maker
from conself_local.errors import EXIT_FAILED, ConselfError
from conself_local.machine.resources import usable_cores

_PATH = click.Path(path_type=Path)


@click.group()
def problems() -> None:
    """What a problems file holds: list it, check it, make one of our own of it."""


@problems.command("list")
@click.argument("path", type=_PATH, required=False)
@json_option
@click.pass_context
def list_(ctx: click.Context, path: Path | None, as_json: bool) -> None:
    """List the problems of a file (default: the starter pack), and what was left out."""
    from conself_local.problems.load import LoadedProblems, load_problems, load_starter

    loaded = load_problems(path, sandbox_maker(ctx, 1)) if path else LoadedProblems(tuple(load_starter()), ())
    rows = [
        {"id": p.id, "split": p.split, "kind": p.kind, "inputs": len(p.inputs), "statement": p.statement}
        for p in loaded.problems
    ]
    if as_json:
        click.echo(json.dumps({"problems": rows, "left_out": loaded.excluded}, indent=2))
        return
    for row in rows:
        first_line = str(row["statement"]).splitlines()[0][:70]
        click.echo(f"{row['id']:<28} {row['split']:<10} {row['kind']:<8} {row['inputs']:>3} inputs  {first_line}")
    for sentence in loaded.excluded:
        click.echo(f"left out: {sentence}", err=True)


@problems.command()
@click.argument("path", type=_PATH)
@click.pass_context
def check(ctx: click.Context, path: Path) -> None:
    """Name everything in a file that must be mended, and what a round would leave out and why."""
    from conself_local.problems.importing import check_problems

    faults, report = check_problems(path, sandbox_maker(ctx, usable_cores()))
    for sentence in faults:
        click.echo(sentence)
    for sentence in report.sentences():
        click.echo(sentence, err=True)
    if faults:
        click.echo(f"{len(faults)} to mend", err=True)
        sys.exit(EXIT_FAILED)


@problems.command("import")
@click.argument("path", type=_PATH)
@click.option("--to", "target", type=_PATH, required=True, help="The problems file to write (JSON lines).")
@click.option("--limit", type=click.IntRange(1), help="Only so many training problems, drawn by the seed.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.pass_context
def import_(ctx: click.Context, path: Path, target: Path, limit: int | None, seed: int) -> None:
    """Make a problems file of our own from APPS, TACO, LiveCodeBench, MBPP, EvalPlus or any other known file, however large."""
    from conself_local.cli.progress import Counter
    from conself_local.problems.importing import import_problems

    with Counter("records read, in two passes") as counter:
        report = import_problems(
            path, target, sandbox_maker(ctx, usable_cores()), limit=limit, seed=seed, on_progress=counter.show
        )
    for sentence in report.sentences():
        click.echo(sentence)


@problems.command()
def schema() -> None:
    """Print the JSON schema of problems written in TOML, for an editor that completes and checks."""
    click.echo(files("conself_local.problems").joinpath("problems.schema.json").read_text(encoding="utf-8"), nl=False)


@click.command()
@click.argument("path", type=click.Path(path_type=Path, exists=True))
@click.option("--to", "target", type=_PATH, required=True, help="The problems file to write (JSON lines).")
@click.option("--yes", is_flag=True, help="Take all that can be taken, without asking for each.")
@click.option("--seed", type=int, default=0, show_default=True, help="Draws inputs, and which problems validate.")
@click.pass_context
def harvest(ctx: click.Context, path: Path, target: Path, yes: bool, seed: int) -> None:
    """Make problems from your own Python code: a file, or all files under a folder. Nothing of it runs outside the sandbox."""
    from conself_local.problems.formats.own import record_of
    from conself_local.problems.harvest import harvest as look_at
    from conself_local.problems.harvest import keep_runnable

    if target.exists():
        raise ConselfError(f"{target} is there already", "give another path")
    found = list(look_at(path, seed))
    accepted = [
        one
        for one in found
        if one.problem and (yes or click.confirm(f"{one.where}\n{one.source}\ntake it?", default=True))
    ]
    for one in found:
        if not one.problem:
            click.echo(f"left out: {one.where}: {one.exclusion_reason}", err=True)
    kept = keep_runnable(accepted, sandbox_maker(ctx, usable_cores()), seed) if accepted else []
    if not kept:
        raise ConselfError(
            f"none of {len(found)} functions in {path} can be taken", "it needs docstrings, and types or examples"
        )
    target.write_text("".join(json.dumps(record_of(problem)) + "\n" for problem in kept), encoding="utf-8")
    validating = sum(problem.split == "validation" for problem in kept)
    click.echo(
        f"{len(found)} functions found, {len(accepted)} taken, {len(kept)} run: {target} ({validating} of them validate)"
    )
