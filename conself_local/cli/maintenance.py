"""Define the verbs about this computer, the disk space of a home and its copies: doctor, prune, backup and restore.

The verbs parse options and print; `cli/doctor.py` and `conself_local/maintenance/` do the work.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from conself_local.cli.options import json_option, open_home, open_store
from conself_local.cli.output import confirm, echo
from conself_local.errors import ConselfError
from conself_local.maintenance.kinds import KINDS

if TYPE_CHECKING:
    from conself_local.maintenance.prune import Prunable


@click.command()
@click.option(
    "--report",
    "target",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE.zip",
    help="Write a new file for a bug report: all this, the settings of the rounds, and the logs; no prompts, programs "
    "and problems.",
)
@json_option
@click.pass_context
def doctor(ctx: click.Context, target: Path | None, as_json: bool) -> None:
    """Show what this computer and its sandbox offer.

    Shown are cores, memory, graphics card, the home and what it takes on the disk, the bundled model, HumanEval,
    package versions, and each protection of the sandbox.
    """
    from conself_local.cli.doctor import diagnose, print_diagnosis, write_bug_report
    from conself_local.new_files import verify_new

    home = open_home(ctx)
    if target:
        verify_new(target)
    found = diagnose(home)
    if target:
        write_bug_report(home, found, target)
    elif as_json:
        echo(json.dumps(found, indent=2))
    else:
        print_diagnosis(found)


@click.command()
@click.option(
    "--only",
    "kinds",
    multiple=True,
    type=click.Choice(KINDS),
    help="Remove only this kind of data; repeatable (default: all kinds).",
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--dry-run", is_flag=True, help="Only show what would be removed; also works while a round runs.")
@json_option
@click.pass_context
def prune(ctx: click.Context, kinds: tuple[str, ...], yes: bool, dry_run: bool, as_json: bool) -> None:
    """Free disk space: remove what nothing needs any more.

    These are checkpoints of ended trainings, converted weights, unfinished files, samples of abandoned rounds, and
    token ids of samples that no pair needs. Rounds that can be continued, adapters, results and fetched models are
    kept, and `conself verify` still passes.
    """
    from conself_local.machine.room import size_text
    from conself_local.maintenance.prune import find_prunable
    from conself_local.maintenance.prune import prune as remove

    def chosen() -> list[Prunable]:
        return [one for one in find_prunable(store, home) if not kinds or one.kind in kinds]

    if not dry_run and not yes and (as_json or not sys.stdin.isatty()):
        raise ConselfError("nobody can be asked before data are removed", "add --yes, or look first with --dry-run")
    with open_store(ctx, existing=True, on_full_disk=True) as (home, store):
        if dry_run:
            _show(chosen(), as_json, None)
            return
        with home.lock():
            found = chosen()
        is_something = any(one.is_something for one in found)
        if not as_json:
            _show(found, False, None)
        if is_something and not yes and not confirm("Remove all of this?"):
            echo("nothing was removed")
            return
        with home.lock():  # not while the question waits; what a round has begun to use since is not found again
            freed = remove(store, home, chosen())
        if as_json:
            _show(found, True, freed)
        elif is_something:
            echo(f"{size_text(freed)} were freed")


def _show(found: list[Prunable], as_json: bool, freed: int | None) -> None:
    """Print what can be removed, and the paths of leftovers; as JSON also what was freed, null if nothing was asked."""
    from conself_local.machine.room import size_text

    if as_json:
        rows = [
            {"kind": one.kind, "bytes": one.size_bytes, "what": one.what, "paths": [str(path) for path in one.paths]}
            for one in found
        ]
        echo(json.dumps({"found": rows, "freed_bytes": freed}, indent=2))
        return
    for one in found:
        echo(f"{one.kind:<10} {size_text(one.size_bytes):>10}  {one.what}")
        for path in one.paths if one.kind == "leftovers" else ():
            echo(f"{'':<23} {path}")
    total = size_text(sum(one.size_bytes for one in found))
    echo(f"{'together':<10} {total:>10}" if any(one.is_something for one in found) else "there is nothing to remove")


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.pass_context
def backup(ctx: click.Context, file: Path) -> None:
    """Write the rounds and adapters of this home to one file.

    FILE must not exist. This also works while a round runs; after a restore that round is continued, and a training
    that had begun begins again. Models, converted weights and experiments are not part of a backup.
    """
    from conself_local.machine.room import size_text
    from conself_local.maintenance.backup import write_backup

    with open_store(ctx, existing=True) as (home, store):
        written = write_backup(store, home, file)
    for name in written.missing:
        echo(f"the files of the adapter {name} are missing or have changed, and are not in the backup", err=True)
    echo(f"{file}: rounds {written.rounds}, adapters {written.adapters}, {size_text(written.size_bytes)}")


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.pass_context
def restore(ctx: click.Context, file: Path) -> None:
    """Restore a backup into a home that has no data.

    FILE was written by `conself backup`. Name a new home with --home DIR, or use the default one if it is empty. What
    is missing on this computer, such as a model, is named.
    """
    from conself_local.maintenance.restore import restore_backup

    home = open_home(ctx)
    restored = restore_backup(home, file)
    for note in restored.notes:
        echo(note, err=True)
    echo(f"{home.path}: rounds {restored.rounds}, adapters {restored.adapters}, as of {restored.created_at_utc}")
