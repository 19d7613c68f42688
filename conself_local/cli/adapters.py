"""Define the verbs about adapters: list them, export one, import one.

The verbs parse options and print; `conself_local/adapters/` does the work.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import click

from conself_local.cli.options import json_option, open_store
from conself_local.cli.output import echo
from conself_local.errors import ConselfError
from conself_local.model_files.converted_weights import AUTOMATIC, FORMAT_CHOICES


@click.command()
@click.option("--accept", type=int, metavar="ID", help="Accept this adapter, then list all.")
@click.option("--reject", type=int, metavar="ID", help="Reject this adapter, then list all.")
@json_option
@click.pass_context
def adapters(ctx: click.Context, accept: int | None, reject: int | None, as_json: bool) -> None:
    """List the adapters of this home.

    A line shows the id, the name, the state, the adapter or model that training started from, and the file. The next
    round, `conself ask` and `conself serve` begin with the accepted adapter of their model that has the highest id.
    """
    wanted = {id: state for id, state in ((accept, "accepted"), (reject, "rejected")) if id is not None}
    if accept is not None and accept == reject:
        raise ConselfError(f"adapter {accept} cannot be accepted and rejected", "give one of the two options")
    with open_store(ctx, existing=True) as (_, store):
        names = {id: store.adapter(id)["name"] for id in wanted}  # raises before anything is changed
        for id, state in wanted.items():
            store.set_adapter_state(id, state)
            echo(f"adapter {id} ({names[id]}) is {state}", err=True)
        rows = store.rows("select * from adapters order by id")
        if as_json:
            echo(json.dumps(rows, indent=2))
            return
        for row in rows:
            parent = (
                f"from adapter {row['parent_id']}"
                if row["parent_id"]
                else "from the base model"
                if row["round_id"] or row["origin"]
                else "imported"
            )
            echo(f"{row['id']:>3} {row['name']:<16} {row['state']:<10} {parent:<20} {row['path']}")
            if row["origin"]:
                echo(f"    trained on {row['origin']}")
        if not rows:
            echo("no adapters yet; `conself run` trains one", err=True)


@click.command()
@click.argument("adapter_id", type=int)
@click.option(
    "--as",
    "form",
    type=click.Choice(["gguf-lora", "peft", "mlx", "merged"]),
    default="merged",
    show_default=True,
    help="merged: a copy of the model's file or folder that contains the adapter, for Ollama, LM Studio and others; "
    "the other forms hold the adapter alone.",
)
@click.option(
    "--number-format",
    type=click.Choice(FORMAT_CHOICES),
    default=AUTOMATIC,
    show_default=True,
    help="Number format of a merged model: auto is the smallest that keeps the gain, shipped keeps the formats of its "
    "file or folder (a folder: or BF16, F16).",
)
@click.option(
    "--to", "target", type=click.Path(path_type=Path), required=True, help="File or folder to write; it must not exist."
)
@click.pass_context
def export(ctx: click.Context, adapter_id: int, form: Any, number_format: str, target: Path) -> None:
    """Write an adapter in a form that other tools use.

    ADAPTER_ID is the number that `conself adapters` shows. For a merged file, the share of the adapter's change that it
    keeps is measured and printed.
    """
    from conself_local.adapters.export import export_adapter

    with open_store(ctx, existing=True) as (home, store):
        for sentence in export_adapter(store, home, adapter_id, form, number_format, target):
            echo(sentence)


@click.command("import-adapter")
@click.argument("path", type=click.Path(path_type=Path))
@click.option(
    "--model",
    type=click.Path(path_type=Path),
    help="Model that the adapter was made for: a GGUF file or a folder of MLX weights (default: the bundled model).",
)
@click.option("--name", help="Name of the adapter in this home (default: the name of the file or folder).")
@click.option("--use", is_flag=True, help="Accept the adapter, so that the next round on this model starts from it.")
@click.pass_context
def import_adapter(ctx: click.Context, path: Path, model: Path | None, name: str | None, use: bool) -> None:
    """Import a LoRA adapter from elsewhere.

    PATH is a GGUF file, a PEFT folder or an mlx-lm folder. Weights are read from safetensors and GGUF only, and checked
    against the model.
    """
    from conself_local.adapters.importing import import_adapter as store_adapter
    from conself_local.model_files.bundled import bundled_model
    from conself_local.model_files.model import open_model

    with open_store(ctx) as (home, store):
        model_file = open_model(model or bundled_model())
        name = name or Path(os.path.realpath(path)).stem
        adapter_id = store_adapter(store, home, path, model_file, name, use=use)
        echo(f"adapter {adapter_id}: {name}" + ("; the next round starts from it" if use else ""))
