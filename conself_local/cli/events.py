"""Define the verbs that show a round while it runs or later: status and log.

Not covered: what is worth a notice (the stages), and the logs in the home, which are for bug reports.
"""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import click

from conself_local.cli.options import json_option, open_store
from conself_local.cli.output import echo

_SHOWN_BY_STATUS = 5


@click.command()
@click.option("--round", "round_id", type=int, help="Number of the round to show (default: the latest).")
@json_option
@click.pass_context
def status(ctx: click.Context, round_id: int | None, as_json: bool) -> None:
    """Show the progress of a round and its report so far, and what came of the last scheduled night.

    This also works while the round runs.
    """
    from conself_local.cli.progress import print_progress, print_report
    from conself_local.store.events import load_events
    from conself_local.store.nights import last_night
    from conself_local.store.reports import progress, round_report

    with open_store(ctx, existing=True) as (home, store):
        night = last_night(store)
        if night and not as_json:
            echo(f"{night.sentence(is_running=home.running() is not None)}\n")
        wanted = store.wanted_round(round_id).id
        report, rows, events = round_report(store, wanted), progress(store, wanted), load_events(store, wanted)
        if as_json:
            others = {"progress": rows, "events": events, "night": dataclasses.asdict(night) if night else None}
            echo(json.dumps(report | others, indent=2))
        else:
            print_progress(rows)
            print_report(report)
            _print_latest(events)


@click.command()
@click.option("--round", "round_id", type=int, help="Number of the round (default: the latest).")
@json_option
@click.pass_context
def log(ctx: click.Context, round_id: int | None, as_json: bool) -> None:
    """List the notices and warnings of a round, oldest first.

    A line shows the time (UTC), the severity, the stage, the kind and the text. This also works while the round runs.
    """
    from conself_local.store.events import load_events

    with open_store(ctx, existing=True) as (_, store):
        wanted = store.wanted_round(round_id).id
        events = load_events(store, wanted)
        if as_json:
            echo(json.dumps({"round": wanted, "events": events}, indent=2))
            return
        for event in events:
            echo(_line(event))
        if not events:
            echo(f"round {wanted} has no notices and no warnings", err=True)


def _print_latest(events: list[dict[str, Any]]) -> None:
    """Print how many notices a round has, and the latest of them; nothing if it has none."""
    if not events:
        return
    warnings = sum(event["severity"] == "warning" for event in events)
    echo(f"{'notices':<18} {len(events)}, of which {warnings} are warnings (conself log lists all)")
    for event in events[-_SHOWN_BY_STATUS:]:
        echo(f"  {_line(event)}")


def _line(event: dict[str, Any]) -> str:
    at = str(event["at_utc"])[:16].replace("T", " ")
    return f"{at}  {event['severity']:<7}  {event['stage']:<8}  {event['kind']:<17}  {event['text']}".replace("\n", " ")
