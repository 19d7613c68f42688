"""Provide what several verbs of the command line need: an option, the store, and sandboxes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from conself_local.cli.output import echo
from conself_local.errors import ConselfError
from conself_local.foreign_files import PARSER_ERRORS, reason
from conself_local.machine.openvino import INSTALL
from conself_local.sampling.config import AUTO, ENGINES
from conself_local.stages.seeds import MAX_SEED

if TYPE_CHECKING:
    from conself_local.events import Notice
    from conself_local.home import Home
    from conself_local.store.store import Store
    from sandbox import MakeSandbox


class LayerName(click.ParamType[str]):
    """The name of a layer of the sandbox on this system."""

    name = "layer"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the name. Raises click.BadParameter if the sandbox has no such layer here."""
        from sandbox.guarantees import ALL_LAYERS  # imported here, so that --help stays quick

        if value not in ALL_LAYERS:
            self.fail(f"{value!r} is no protection here; choose from {', '.join(ALL_LAYERS)}", param, ctx)
        return value


SEED = click.IntRange(0, MAX_SEED)

model_option = click.option(
    "--model",
    type=click.Path(path_type=Path),
    help="GGUF file of the model, or folder of MLX weights (default: the bundled model).",
)
slots_option = click.option(
    "--slots",
    type=click.IntRange(1, 256),
    help="Number of sequences sampled at once (default: what `conself tune` found, else 64).",
)
threads_option = click.option(
    "--threads",
    type=click.IntRange(1),
    help="Threads of the engine (default: what `conself tune` found, else all cores).",
)
engine_option = click.option(
    "--engine",
    type=click.Choice([AUTO, *ENGINES]),
    default=AUTO,
    help="What samples: auto takes what `conself tune` found, else llama.cpp; openvino is an optional part for x86-64 "
    f"processors ({INSTALL}), openvino-gpu the same on Intel graphics, which was never run (default: auto).",
)
no_gpu_option = click.option(
    "--no-gpu", is_flag=True, help="Sample on the processor even if llama.cpp can use a graphics card."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")


def with_options(*options: Any) -> Callable[[Any], Any]:
    """Return a decorator that adds the options to a verb, so that `--help` lists them in that order."""

    def decorate(function: Any) -> Any:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


def open_home(ctx: click.Context, *, existing: bool = False, writable: bool = True) -> Home:
    """Return the home that the user named, which is created unless `existing` is set or `writable` is not.

    Raises ConselfError if it cannot be written, or if `existing` is set and it has no store.
    """
    from conself_local.home import Home
    from conself_local.machine.child_log import keep_child_logs

    home = Home(ctx.obj["home"], existing=existing, writable=writable)
    if writable:
        keep_child_logs(home.logs)
    return home


@contextmanager
def open_store(
    ctx: click.Context, *, existing: bool = False, on_full_disk: bool = False
) -> Iterator[tuple[Home, Store]]:
    """Open the home that the user named and its store; both are created unless `existing` is set.

    With `on_full_disk`, it is opened even if no space is free, and then by no other process meanwhile.
    With `existing`, an error of a parser in the block is one of the stored values, because the block reads them.
    Raises ConselfError if the home cannot be written, if its store cannot be opened or shown, or if `existing` is set
    and the home has no store.
    """
    from conself_local.machine.room import is_full
    from conself_local.store.store import Store

    home = open_home(ctx, existing=existing)
    with Store(home.database, alone=on_full_disk and is_full(home.path)) as store:
        if home.keep_from_others():
            echo(f"others on this computer could read {home.path}; from now on they cannot", err=True)
        try:
            yield home, store
        except PARSER_ERRORS as error:
            if not existing:
                raise
            raise ConselfError(
                f"the store holds values that this program did not write: {reason(error)}",
                "restore a copy of conself.db, or choose another folder with --home DIR",
            ) from error


def sandbox_maker(
    ctx: click.Context, workers: int, on_notice: Callable[[Notice], None] = lambda notice: echo(notice.text, err=True)
) -> MakeSandbox:
    """Return a function that starts a sandbox of `workers` workers, which may lack protections that the user waived.

    `on_notice` is called if it does, and from another thread if a process of the sandbox is restarted.
    """
    from conself_local.events import START, Notice, NoticeKind
    from sandbox import Limits, Sandbox

    def make(limits: Limits) -> Sandbox:
        sandbox = Sandbox(
            limits,
            workers=workers,
            accept_weaker=ctx.obj["weaker"],
            on_notice=lambda text: on_notice(Notice(text, NoticeKind.SANDBOX_RESTARTED)),
        )
        if sandbox.missing:
            text = (
                f"programs run in a weaker sandbox, as you accepted: this computer lacks {', '.join(sandbox.missing)}"
            )
            on_notice(Notice(text, NoticeKind.SANDBOX_WEAKER, START))
        return sandbox

    return make
