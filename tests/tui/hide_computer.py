"""Replace on a screen what differs from computer to computer by fixed text, so that pictures of it stay equal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from tui.app import ConselfApp


@contextmanager
def another_computer() -> Iterator[None]:
    """Let every screen show 8 cores and 9.1 GiB of free memory, and a home that is whole, for the length of the block."""
    memory = int(9.1 * 2**30)
    with (
        patch("tui.screens.base.usable_cores", lambda: 8),
        patch("tui.screens.base.available_memory_bytes", lambda: memory),
        patch("tui.screens.looking._fault_of_adapter", lambda *arguments: ""),  # the adapter lies where it was trained
    ):
        yield


def hide_this_computer(app: ConselfApp) -> None:
    """Show a computer, a model and a home that exist nowhere."""
    screen = app.screen
    for machine_lines in screen.query("#machine-lines").results(Static):
        machine_lines.update("Linux, 8 cores, 16.0 GiB of memory (9.1 GiB free), 200 GiB of disk free\nno GPU")
    for ready in screen.query("#ready").results(Static):
        ready.update("✓ ready: s starts it")
    for models in screen.query("#models").results(OptionList):
        models.set_options([Option("● bundled: SmolLM2-135M-Instruct   135 M  Q4_1  92 MiB  ✓ trains")])
    for values in screen.query("#values").results(Static):
        values.update(str(values.visual).replace(str(app.app_state.home.path), "/home/ada/.local/share/conself"))
