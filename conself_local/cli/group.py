"""Turn errors into messages and exit codes: the one place of the command line that does so.

An error that nobody foresaw becomes one line too; its traceback goes to a log in the home folder, without the values
of variables and without the error's own text, which may hold parts of problems.
"""

from __future__ import annotations

import logging
import logging.handlers
import os
import signal
import sqlite3
import sys
import traceback
from pathlib import Path
from typing import Any, NoReturn

import click

from conself_local.cli.output import OutputClosedError, echo
from conself_local.errors import EXIT_BUG, EXIT_FAILED, EXIT_STOPPED, EXIT_USAGE, ConselfError
from conself_local.foreign_text import shown
from conself_local.new_files import keep_private

_LOG_BYTES = 256 * 2**10
_KEPT_LOGS = 3
_MAX_CHARACTERS = 300


class Group(click.Group):
    """A group of verbs whose errors become a message, a hint and an exit code."""

    def add_command(self, cmd: click.Command, name: str | None = None) -> None:
        """Add a verb, which takes `--home` too: the option may stand before the verb or after it."""
        _accept_home(cmd)
        super().add_command(cmd, name)

    def main(self, *args: Any, **options: Any) -> Any:
        """Parse the command line and run the verb, as `click.Group.main` does."""
        prepare_process()
        try:
            return super().main(*args, **options | {"standalone_mode": False})
        except click.exceptions.NoArgsIsHelpError as error:
            echo(error.format_message(), err=True)
            sys.exit(EXIT_USAGE)
        except click.UsageError as error:
            if error.ctx:
                echo(error.ctx.get_usage(), err=True)
                echo(f"Try `{error.ctx.command_path} --help`.", err=True)
            fail(error.format_message(), "")
        except click.ClickException as error:
            fail(error.format_message(), "")
        except click.Abort:
            echo("stopped", err=True)
            sys.exit(EXIT_STOPPED)
        except OutputClosedError:
            _end_silently()

    def invoke(self, ctx: click.Context) -> Any:
        """Run the verb."""
        # SIGTERM stops like Ctrl-C, because a shell makes its background jobs ignore SIGINT
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            return super().invoke(ctx)
        except ConselfError as error:
            fail(error.message, error.hint)
        except KeyboardInterrupt:
            echo("stopped; everything stored is kept, and `conself run` continues a round", err=True)
            sys.exit(EXIT_STOPPED)
        except sqlite3.DatabaseError as error:
            fail(f"the store cannot be read or written: {error}", "check the disk; `conself verify` checks the store")
        except (click.ClickException, click.exceptions.Exit, click.Abort, OutputClosedError):
            raise
        except BrokenPipeError:
            fail(
                "a process of this program ended while it was asked", "run the command again: everything stored is kept"
            )
        except OSError as error:
            fail(
                f"{error.strerror or error}: {error.filename or ''}".rstrip(": "), "check the disk and the permissions"
            )
        except Exception as error:
            from sandbox import SandboxError  # imported here, so that --help stays quick

            if isinstance(error, SandboxError):
                fail(
                    str(error),
                    "`conself doctor` shows the protections; `conself --accept-weaker-sandbox=NAME run` skips one",
                )
            report_bug(error, ctx.obj["home"])


def prepare_process() -> None:
    """Keep new files private, and warnings off the terminal: they may quote what is parsed, or lie over the screens."""
    keep_private()
    logging.captureWarnings(True)
    logging.getLogger("py.warnings").addHandler(logging.NullHandler())


def _accept_home(command: click.Command) -> None:
    def set_home(ctx: click.Context, param: click.Parameter, value: Path | None) -> None:
        if value is not None:
            ctx.obj["home"] = value

    option = click.Option(
        ["--home"], type=click.Path(path_type=Path), expose_value=False, callback=set_home, help="As before the verb."
    )
    command.params.append(option)
    for below in getattr(command, "commands", {}).values():
        _accept_home(below)


def _end_silently() -> NoReturn:
    """End with exit code 1; what Python still writes to the closed output at its end goes nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(nowhere, stream.fileno())
    sys.exit(EXIT_FAILED)


def report_bug(error: BaseException, home: Path | None) -> NoReturn:
    """Print one line about an error that nobody foresaw, log where it happened, and exit with `EXIT_BUG`."""
    text = " ".join(f"{type(error).__name__}: {error}".split())[:_MAX_CHARACTERS]
    echo(f"conself: an error that this program did not foresee: {text}", err=True)
    try:
        echo(f"  -> where it happened is in {_log(error, home)}; please report it with that file", err=True)
    except (OSError, ConselfError) as failed:
        echo(f"  -> where it happened could not be logged: {failed}", err=True)
    sys.exit(EXIT_BUG)


def _log(error: BaseException, home: Path | None) -> Path:
    """Append the traceback to the log of the home, without texts and values; return the log's path."""
    from conself_local.home import Home

    folder = Home(home).logs
    folder.mkdir(exist_ok=True)
    path = folder / "conself.log"
    handler = logging.handlers.RotatingFileHandler(path, maxBytes=_LOG_BYTES, backupCount=_KEPT_LOGS, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    lines: list[str] = []
    cause: BaseException | None = error
    while cause is not None and len(lines) < 10:
        frames = traceback.format_list(traceback.extract_tb(cause.__traceback__))
        lines.append("".join([f"{type(cause).__module__}.{type(cause).__qualname__}\n", *frames]))
        cause = cause.__cause__ or cause.__context__
    handler.emit(logging.LogRecord("conself", logging.ERROR, __file__, 0, "\ncaused by ".join(lines), None, None))
    handler.close()
    return path


def fail(message: str, hint: str) -> NoReturn:
    """Print the message and the hint to standard error, and exit with `EXIT_USAGE`."""
    echo(shown(f"conself: {message}", lines=False), err=True)
    if hint:
        echo(shown(f"  -> {hint}", lines=False), err=True)
    sys.exit(EXIT_USAGE)
