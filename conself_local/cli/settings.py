"""Define the verb `conself settings`, and the options with which other verbs choose the settings of a round."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from conself_local.cli.options import json_option, open_home, with_options
from conself_local.cli.output import echo
from conself_local.errors import ConselfError

if TYPE_CHECKING:
    from conself_local.home import Home
    from conself_local.round.presets import SettingsChoice
    from conself_local.settings import Settings

choice_options = [
    click.option(
        "--preset",
        metavar="NAME",
        help="Settings to start from: laptop suits small models and computers; paper repeats arXiv 2603.29292; or one "
        "that this home keeps (default: laptop).",
    ),
    click.option(
        "--settings",
        "settings_file",
        type=click.Path(path_type=Path),
        help="TOML file of settings that differ from the preset, one table per stage.",
    ),
    click.option(
        "--set",
        "changes",
        multiple=True,
        metavar="NAME=VALUE",
        help="Change one setting, for example training.learning_rate=5e-5; repeatable. `conself settings` lists them.",
    ),
]


CHOICE_PARAMETERS = ("preset", "settings_file", "changes")
"""The parameters of these options."""


def take_choice(ctx: click.Context, options: dict[str, Any]) -> SettingsChoice:
    """Take the values of `choice_options` out of a verb's options, and return the choice. Raises ConselfError."""
    from conself_local.round.presets import choose_settings

    preset, file, texts = (options.pop(name) for name in CHOICE_PARAMETERS)
    return choose_settings(open_home(ctx, writable=False), preset=preset, file=file, texts=texts)


def _print_schema(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value:
        from conself_local.settings.json_schema import settings_file_schema

        echo(json.dumps(settings_file_schema(), indent=2))
        ctx.exit()


def _print_experiment_schema(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value:
        from conself_local.experiment.json_schema import experiment_schema

        echo(json.dumps(experiment_schema(), indent=2))
        ctx.exit()


experiment_schema_option = click.option(
    "--schema",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_experiment_schema,
    help="Print the JSON schema of experiment files, for editors, and end.",
)


@click.command()
@with_options(*choice_options)
@click.option("--save", "save", metavar="NAME", help="Keep the settings shown as a preset of this home.")
@click.option("--delete", "delete", metavar="NAME", help="Remove a preset of this home.")
@click.option("--list", "list_names", is_flag=True, help="List the presets of this program and of this home.")
@click.option(
    "--schema",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_schema,
    help="Print the JSON schema of files for --settings, for editors.",
)
@json_option
@click.pass_context
def settings(
    ctx: click.Context,
    preset: str | None,
    settings_file: Path | None,
    changes: tuple[str, ...],
    save: str | None,
    delete: str | None,
    list_names: bool,
    as_json: bool,
) -> None:
    """Show every setting with its meaning, its limits, its presets and what is changed.

    Without options, these are the settings of the latest round of this home, or of the preset laptop if it has none.
    With --preset, --settings and --set, these are the settings that `conself run` would use.
    """
    from conself_local.round.presets import delete_preset, list_presets, save_preset
    from conself_local.settings import PRESETS

    home = open_home(ctx, writable=save is not None)
    if [bool(list_names), bool(save), bool(delete)].count(True) > 1:
        raise ConselfError("--save, --delete and --list exclude each other", "give one of them")
    if list_names:
        names = {"program": list(PRESETS), "home": list_presets(home)}
        echo(json.dumps(names, indent=2) if as_json else "\n".join([*names["program"], *names["home"]]))
        return
    if delete is not None:
        delete_preset(home, delete)
        echo(f"removed the preset {delete}", err=True)
        return
    source, values = _choose(home, preset, settings_file, changes)
    if save is not None:
        path = save_preset(home, save, values)
        echo(f"kept {source} as the preset {save}, in {path}; use it with: conself run --preset {save}", err=True)
    elif as_json:
        echo(json.dumps(_as_json(home, source, values), indent=2))
    else:
        _print(home, source, values)


def _choose(
    home: Home, preset: str | None, settings_file: Path | None, changes: tuple[str, ...]
) -> tuple[str, Settings]:
    """Return where the settings come from, in words, and the settings."""
    from conself_local.round.presets import choose_settings
    from conself_local.settings import DEFAULT_PRESET, PRESETS

    if preset is not None or settings_file is not None or changes:
        choice = choose_settings(home, preset=preset, file=settings_file, texts=changes)
        return "the settings of these options", choice.settings()
    if home.database.is_file():
        from conself_local.store.store import Store

        with Store(home.database) as store:
            latest = store.latest_round()
        if latest is not None:
            return f"the settings of round {latest.id}", latest.settings
    return f"the preset {DEFAULT_PRESET}", PRESETS[DEFAULT_PRESET]


def _as_json(home: Home, source: str, values: Settings) -> dict[str, Any]:
    from conself_local.round.presets import find_preset, list_presets
    from conself_local.settings import GROUPS, PRESETS, find_conflicts, list_form
    from conself_local.settings.form import describe_field

    presets, unusable = dict(PRESETS), {}
    for name in list_presets(home):
        try:
            presets[name] = find_preset(home, name).settings()
        except ConselfError as error:
            unusable[name] = str(error)
    fields = [row for group in list_form(values) for row in group.fields]
    return {
        "source": source,
        "preset": values.preset,
        "groups": {name: {"label": about.label, "meaning": about.meaning} for name, about in GROUPS.items()},
        "presets": {"program": list(PRESETS), "home": list_presets(home), "unusable": unusable},
        "changed": [row.field.name for row in fields if row.is_changed],
        "conflicts": [conflict.message for conflict in find_conflicts(values)],
        "settings": [describe_field(row.field, values, presets) for row in fields],
    }


def _print(home: Home, source: str, values: Settings) -> None:
    from conself_local.round.presets import list_presets
    from conself_local.settings import PRESETS, describe_allowed, find_conflicts, format_value, get_value, list_form

    count = 0
    for group in list_form(values):
        echo(f"{group.about.label}. {group.about.meaning}")
        for row in group.fields:
            about = row.field.about
            count += row.is_changed
            kept = ", ".join(f"{name}: {format_value(get_value(one, row.field.name))}" for name, one in PRESETS.items())
            echo(f"  {row.field.name} = {row.text}   ({'changed; ' if row.is_changed else ''}{kept})")
            echo(f"      {about.meaning}")
            unit = f" ({about.unit})" if about.unit else ""
            echo(f"      Allowed: {describe_allowed(row.field)}{unit}. Time: {about.time}")
        echo()
    for conflict in find_conflicts(values):
        echo(f"These contradict each other: {conflict.message}")
    echo(f"These are {source}: preset {values.preset}, {count} changed.")
    if names := list_presets(home):
        echo(f"Presets of this home: {', '.join(names)}.")
