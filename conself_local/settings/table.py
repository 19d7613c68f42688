"""Write the settings as the Markdown tables of the document: `python -m conself_local.settings.table` prints them.

A test compares the document with these tables.
"""

from __future__ import annotations

import sys

from conself_local.settings.check import describe_allowed
from conself_local.settings.presets import LAPTOP, PAPER
from conself_local.settings.schema import FIELDS, GROUPS, SettingField, get_value
from conself_local.settings.text import format_value

_HEAD = ("| setting | meaning | unit | allowed | paper | laptop | time | why |", "|---|---|---|---|---|---|---|---|")


def settings_tables() -> str:
    """Return one table per group, with the values of both presets and the reason of that of `laptop`."""
    lines = []
    for group, about in GROUPS.items():
        lines += [f"**{about.label}** (`{group}`). {about.meaning}", "", *_HEAD]
        lines += [_row(field) for field in FIELDS.values() if field.group == group]
        lines.append("")
    return "\n".join(lines).rstrip("\n")


def _row(field: SettingField) -> str:
    about = field.about
    values = (format_value(get_value(preset, field.name)) for preset in (PAPER, LAPTOP))
    short = field.name.partition(".")[2]
    cells = (f"`{short}`", about.meaning, about.unit, describe_allowed(field), *values, about.time, about.reason)
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    sys.stdout.write(settings_tables() + "\n")
