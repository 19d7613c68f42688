"""Define the verbs about problems: list, check and import files, and harvest the user's own code.

The verbs parse options and print; `conself_local/problems/` does the work.
"""

from __future__ import annotations

import json
import sys
from importlib.resources import files
from pathlib import Path

import click

from conself_local.cli.mine import keep, mine
from conself_local.cli.options import SEED, json_option, sandbox_maker
from conself_local.cli.output import confirm, echo
from conself_local.errors import EXIT_FAILED, ConselfError
from conself_local.machine.resources import usable_cores

_PATH = click.Path(path_type=Path)
keep_examples_option = click.option(
    "--keep-examples",
    is_flag=True,
    help="Leave the expected outputs of examples in the statements; the origin of each problem says so.",
)


@click.group()
def problems() -> None:
    """List, check or import a problems file, or see the questions of yours that train."""


problems.add_command(mine)
problems.add_command(keep)


@problems.command("list")
@click.argument("path", type=_PATH, required=False)
@json_option
@click.pass_context
def list_(ctx: click.Context, path: Path | None, as_json: bool) -> None:
    """List the problems of a file, and the records left out.

    Without PATH, the starter pack is listed.
    """
    from conself_local.problems.load import LoadedProblems, load_problems, load_starter

    loaded = load_problems(path, sandbox_maker(ctx, 1)) if path else LoadedProblems(tuple(load_starter()), ())
    rows = [
        {"id": p.id, "split": p.split, "kind": p.kind, "inputs": len(p.inputs), "statement": p.statement}
        for p in loaded.problems
    ]
    if as_json:
        echo(json.dumps({"problems": rows, "left_out": loaded.excluded}, indent=2))
        return
    for row in rows:
        first_line = str(row["statement"]).splitlines()[0][:70]
        echo(f"{row['id']:<28} {row['split']:<10} {row['kind']:<8} {row['inputs']:>3} inputs  {first_line}")
    for sentence in loaded.excluded:
        echo(f"left out: {sentence}", err=True)


@problems.command()
@click.argument("path", type=_PATH)
@click.pass_context
def check(ctx: click.Context, path: Path) -> None:
    """Report what must be fixed in a problems file.

    Also reports what a round would leave out and why. The exit code is 1 if something must be fixed.
    """
    from conself_local.problems.importing import check_problems

    faults, report = check_problems(path, sandbox_maker(ctx, usable_cores()))
    for sentence in faults:
        echo(sentence)
    for sentence in report.sentences():
        echo(sentence, err=True)
    if faults:
        echo(f"{len(faults)} to fix", err=True)
        sys.exit(EXIT_FAILED)


@problems.command("import")
@click.argument("path", type=_PATH)
@click.option("--to", "target", type=_PATH, required=True, help="The problems file to write (JSON lines).")
@click.option(
    "--limit", type=click.IntRange(1), help="Keep at most this many training problems, drawn by --seed (default: all)."
)
@click.option("--seed", type=SEED, default=0, show_default=True, help="Decides which problems --limit keeps.")
@keep_examples_option
@click.pass_context
def import_(ctx: click.Context, path: Path, target: Path, limit: int | None, seed: int, keep_examples: bool) -> None:
    """Convert a file of a known format into a problems file.

    Known formats: APPS, TACO, LiveCodeBench, LeetCodeDataset, MBPP, EvalPlus, HumanEval (JSON lines, JSON, .gz or
    Parquet), this project's JSON lines, and TOML written by hand. Files may be larger than memory. Repeated problems,
    those that a benchmark contains and those whose first line does not run are left out.
    """
    from conself_local.cli.progress import Counter
    from conself_local.problems.importing import import_problems

    with Counter("records read (the file is read twice)") as counter:
        report = import_problems(
            path,
            target,
            sandbox_maker(ctx, usable_cores()),
            limit=limit,
            seed=seed,
            on_progress=counter.show,
            keep_examples=keep_examples,
        )
    for sentence in report.sentences():
        echo(sentence)


@problems.command()
def schema() -> None:
    """Print the JSON schema of problems written in TOML.

    An editor that knows the schema completes and checks what you write.
    """
    echo(files("conself_local.problems").joinpath("problems.schema.json").read_text(encoding="utf-8"), nl=False)


@click.command()
@click.argument("path", type=_PATH)
@click.option("--to", "target", type=_PATH, required=True, help="The problems file to write (JSON lines).")
@click.option("--yes", is_flag=True, help="Take every function that can be used, without asking.")
@click.option(
    "--seed",
    type=SEED,
    default=0,
    show_default=True,
    help="Decides the drawn inputs and which problems are for validation.",
)
@keep_examples_option
@click.pass_context
def harvest(ctx: click.Context, path: Path, target: Path, yes: bool, seed: int, keep_examples: bool) -> None:
    """Make problems from your own Python code.

    PATH is a file, or a folder whose files are all searched. Functions with a docstring and simple parameters are shown
    one by one, and you choose which to take. Your code runs only in the sandbox. Docstrings become statements, without
    the expected outputs of their examples.
    """
    from conself_local.new_files import verify_new, whole_file
    from conself_local.problems.formats.own import record_of
    from conself_local.problems.harvest import harvest as find_functions
    from conself_local.problems.harvest import keep_runnable

    verify_new(target)
    found = list(find_functions(path, seed, keep_examples=keep_examples))
    accepted = [
        one for one in found if one.problem and (yes or confirm(f"{one.where}\n{one.source}\ntake this function?"))
    ]
    for one in found:
        if not one.problem:
            echo(f"left out: {one.where}: {one.exclusion_reason}", err=True)
    kept = keep_runnable(accepted, sandbox_maker(ctx, usable_cores()), seed) if accepted else []
    ids = {problem.id for problem in kept}
    for one in accepted:
        if one.problem and one.problem.id not in ids:
            echo(f"left out: {one.where}: it answers none of its inputs in time, or not always alike", err=True)
    if not kept:
        raise ConselfError(
            f"none of the {len(found)} functions in {path} was taken",
            "a function needs a docstring, and type annotations or examples for its parameters",
        )
    with whole_file(target, replace=False) as part:
        part.write_text("".join(json.dumps(record_of(problem)) + "\n" for problem in kept), encoding="utf-8")
    validating = sum(problem.split == "validation" for problem in kept)
    echo(
        f"{len(found)} functions found, {len(accepted)} taken, {len(kept)} of them run in the sandbox and are now in "
        f"{target} ({validating} for validation)"
    )
