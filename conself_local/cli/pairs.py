"""Define what the verbs `pairs` and `train` do with files of pairs: `pairs --to FILE` and `train --pairs FILE`.

Without these options the verbs run a round up to their stage (`main.py`).
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from conself_local.cli.options import open_store
from conself_local.cli.output import echo
from conself_local.cli.settings import CHOICE_PARAMETERS, take_choice
from conself_local.errors import ConselfError

PAIRS_OPTIONS = [
    click.option(
        "--to",
        "target",
        type=click.Path(path_type=Path),
        help="Only write the pairs of a round to this new file: JSON lines that TRL, LLaMA-Factory and Unsloth read.",
    ),
    click.option("--round", "round_id", type=int, help="With --to: number of the round (default: the latest)."),
]
TRAIN_OPTIONS = [
    click.option(
        "--pairs",
        "pairs_file",
        type=click.Path(path_type=Path),
        help="Train on this file of pairs, without a round; --model, --preset, --settings, --set, --seed "
        "and --from-base apply too. A file that states no settings is trained with those of laptop.",
    ),
    click.option("--name", help="With --pairs: name of the adapter in this home (default: the name of the file)."),
]
OWN_PARAMETERS = ("target", "round_id", "pairs_file", "name")
"""Parameters of these options, which mean nothing for a round."""
_NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9_.-]+")


def write_pairs_of_round(
    ctx: click.Context, /, *, target: Path | None, round_id: int | None, as_json: bool, **others: Any
) -> bool:
    """Write the pairs of a round if `--to` was given; return whether it was."""
    from conself_local.stages.export_pairs import export_pairs

    if target is None:
        _refuse(ctx, {"round_id"}, "needs --to FILE")
        return False
    _refuse_others(ctx, {"target", "round_id", "as_json"}, "--to")
    with open_store(ctx, existing=True) as (_, store):
        written = export_pairs(store, round_id, target)
    if as_json:
        values = dataclasses.asdict(written)
        echo(json.dumps({"round": values.pop("round_id"), **values, "file": str(target)}, indent=2))
    else:
        echo(f"{written.pairs} pairs of round {written.round_id} are in {target}")
        lengths = f"{written.chosen_tokens:.1f} tokens, rejected ones {written.rejected_tokens:.1f}"
        echo(f"chosen programs have {lengths} on average")
    return True


def train_on_pairs_file(
    ctx: click.Context,
    /,
    *,
    pairs_file: Path | None,
    name: str | None,
    model: Path | None,
    seed: int | None,
    from_base: bool,
    as_json: bool,
    **options: Any,
) -> bool:
    """Train on a file of pairs if `--pairs` was given; return whether it was."""
    from conself_local.cli.progress import Progress
    from conself_local.model_files.bundled import bundled_model
    from conself_local.model_files.model import open_model
    from conself_local.model_files.trainable import verify_trainable
    from conself_local.stages.train_pairs import Wishes, train_on_file

    if pairs_file is None:
        _refuse(ctx, {"name"}, "needs --pairs FILE")
        return False
    _refuse_others(ctx, {"pairs_file", "name", "model", *CHOICE_PARAMETERS, "seed", "from_base", "as_json"}, "--pairs")
    choice = take_choice(ctx, options)
    stem = pairs_file.name.removesuffix(".gz").removesuffix(".jsonl")
    name = name or _NOT_IN_A_NAME.sub("-", stem).strip("-.")[:64] or "pairs"
    with open_store(ctx) as (home, store), home.lock():
        model_file = open_model(model or bundled_model())
        verify_trainable(model_file)
        with Progress() as progress:
            wishes = Wishes(choice.preset, choice.changes, seed, from_base)
            adapter_id = train_on_file(store, home, model_file, pairs_file, name, wishes, progress.on_event)
        row = store.adapter(adapter_id)
    if as_json:
        echo(json.dumps(row, indent=2))
    else:
        echo(f"adapter {adapter_id}: {name}, trained on {row['origin']}; file {row['path']}")
    return True


def _refuse_others(ctx: click.Context, allowed: Collection[str], option: str) -> None:
    """Raise ConselfError if an option was given that means nothing beside `option`."""
    names = {parameter.name for parameter in ctx.command.params if parameter.name}
    _refuse(ctx, names - set(allowed) - {"home"}, f"cannot be used with {option}")


def _refuse(ctx: click.Context, names: Collection[str], why: str) -> None:
    """Raise ConselfError if one of these parameters was given on the command line."""
    for parameter in ctx.command.params:
        is_given = parameter.name and ctx.get_parameter_source(parameter.name) is ParameterSource.COMMANDLINE
        if is_given and parameter.name in names:
            raise ConselfError(f"{parameter.opts[0]} {why}", f"see conself {ctx.command.name} --help")
