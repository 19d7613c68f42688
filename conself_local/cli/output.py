"""Print for people: the one way in which the command line writes text, foreign text included."""

from __future__ import annotations

import sys

import click
from rich.text import Text

from conself_local.foreign_text import encodable, shown


class OutputClosedError(Exception):
    """Nobody reads what this program prints any more, as when `head` has seen enough.

    It is not BrokenPipeError, which the end of another process raises too.
    """


def echo(text: object = "", *, err: bool = False, nl: bool = True) -> None:
    """Print `text` as it may be shown, to standard output or, with `err`, to standard error.

    Raises OutputClosedError.
    """
    stream = sys.stderr if err else sys.stdout
    try:
        click.echo(encodable(shown(str(text)), getattr(stream, "encoding", None)), err=err, nl=nl)
    except BrokenPipeError as error:
        raise OutputClosedError from error


def confirm(question: str) -> bool:
    """Ask a question that yes answers by default, and return the answer."""
    echo(f"{question} [Y/n]: ", nl=False)
    return click.confirm("", default=True, prompt_suffix="", show_default=False)


def rich_text(text: str, encoding: str | None = None, *, lines: bool = True) -> Text:
    """Return `text` as it may be shown, for rich, which parses no markup in it."""
    return Text(encodable(shown(text, lines=lines), encoding))
