"""Define the verb `status`: the progress and the report of a round, and the result of the last scheduled night.

The verb reads the store only, so it also works while a round runs.
"""

from __future__ import annotations

import dataclasses
import json

import click

from conself_local.cli.options import json_option, open_store
from conself_local.cli.output import echo
from conself_local.errors import ConselfError


@click.command()
@click.option("--round", "round_id", type=int, help="Number of the round to show (default: the latest).")
@json_option
@click.pass_context
def status(ctx: click.Context, round_id: int | None, as_json: bool) -> None:
    """Show the progress of a round and its report so far, and what came of the last scheduled night.

    This also works while the round runs.
    """
    from conself_local.cli.progress import print_progress, print_report
    from conself_local.store.nights import last_night
    from conself_local.store.reports import progress, round_report

    with open_store(ctx, existing=True) as (home, store):
        latest, night_now = store.latest_round(), last_night(store)
        if night_now and not as_json:
            echo(f"{night_now.sentence(is_running=home.running() is not None)}\n")
        if latest is None:
            raise ConselfError("this home has no round yet", "start one with: conself run")
        wanted = latest.id if round_id is None else store.round(round_id).id
        report, rows = round_report(store, wanted), progress(store, wanted)
        if as_json:
            night_values = dataclasses.asdict(night_now) if night_now else None
            echo(json.dumps(report | {"progress": rows, "night": night_values}, indent=2))
        else:
            print_progress(rows)
            print_report(report)
