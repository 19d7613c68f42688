"""Define the verb `schedule`, which lets the system start a round every night, and the verb that it starts.

The verbs parse options and print; `machine/night_units.py` writes the files, `round/night.py` runs the night.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from conself_local.cli.options import model_option, open_home, open_store
from conself_local.cli.output import echo
from conself_local.errors import ConselfError

_PATH = click.Path(path_type=Path)
_PASSED_ON = ("CONSELF_CACHE", "CONSELF_TRAIN_ON")
"""Variables of the environment that a round reads, and that the system would not know at night."""
_hours_option = click.option(
    "--hours",
    type=click.FloatRange(0.05, 23),
    default=5.0,
    show_default=True,
    help="Stop after this many hours; everything is kept, and the next night continues it.",
)
_problems_option = click.option(
    "--problems",
    type=_PATH,
    help="Problems file for new rounds, or `mine` (default: the starter pack and your own questions).",
)
_limit_option = click.option("--limit", type=click.IntRange(1), help="As in `conself run`.")


@click.command()
@click.option("--nightly", "time", metavar="HH:MM", help="Start a round every night at this time, as in 01:00.")
@_hours_option
@model_option
@_problems_option
@_limit_option
@click.option("--print", "only_print", is_flag=True, help="Print the files that would be written, and write nothing.")
@click.option("--off", is_flag=True, help="Remove the schedule.")
@click.pass_context
def schedule(
    ctx: click.Context,
    time: str | None,
    hours: float,
    model: Path | None,
    problems: Path | None,
    limit: int | None,
    only_print: bool,
    off: bool,
) -> None:
    """Start a round every night, on mains power only.

    A systemd user timer starts it (on a Mac a launchd agent, which was never run). An unfinished round is continued; a
    new one has a new seed. `conself status` and the first screen show what came of the night. Without options, the verb
    says what is scheduled.
    """
    from conself_local.machine.night_units import Night, install, installed_file, parse_time, remove, unit_files

    if off:
        echo("the schedule is removed" if remove() else "nothing was scheduled")
    elif time is None:
        found = installed_file()
        echo(f"scheduled by {found}; --off removes it" if found else "nothing is scheduled; --nightly 01:00 starts it")
    else:
        command = _command(ctx, hours, model, problems, limit)
        environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        files = unit_files(Night(parse_time(time), hours, command, environment))
        if only_print:
            for path, text in files.items():
                echo(f"# {path}\n{text}")
            return
        install(files)
        echo(
            f"every night at {time}, for at most {hours:g} hours, on mains power: written {', '.join(map(str, files))}"
        )
        echo("the computer must be on and you logged in then; `loginctl enable-linger` lifts the latter", err=True)


def _command(
    ctx: click.Context, hours: float, model: Path | None, problems: Path | None, limit: int | None
) -> tuple[str, ...]:
    """Return the command of the night with whole paths. Raises ConselfError if a file is missing."""
    from conself_local.store.kept_questions import MINE

    command = [sys.executable, "-P", "-m", "conself_local", "--home", str(open_home(ctx, writable=False).path)]
    command += [f"--accept-weaker-sandbox={name}" for name in ctx.obj["weaker"]]
    command += ["night", "--hours", f"{hours:g}"]
    for name, path in (("--model", model), ("--problems", problems)):
        if path is None:
            continue
        if path != Path(MINE) and not path.exists():
            raise ConselfError(f"there is no file {path}", f"check the path of {name}")
        command += [name, str(path) if path == Path(MINE) else str(path.resolve())]
    return (*command, *(("--limit", str(limit)) if limit else ()))


@click.command(hidden=True)
@_hours_option
@model_option
@_problems_option
@_limit_option
@click.pass_context
def night(ctx: click.Context, hours: float, model: Path | None, problems: Path | None, limit: int | None) -> None:
    """Run one night now, as the schedule does."""
    from conself_local.round.night import NightPlan, run_night

    arguments = ["--with-mine"] if problems is None else ["--problems", str(problems)]
    arguments += ["--model", str(model)] if model else []
    arguments += ["--limit", str(limit)] if limit else []
    options = tuple(f"--accept-weaker-sandbox={name}" for name in ctx.obj["weaker"])
    with open_store(ctx) as (home, store):
        echo(run_night(store, home, NightPlan(hours, tuple(arguments), options)))
