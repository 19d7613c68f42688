"""Replace on a screen what differs from computer to computer by fixed text, so that pictures of it stay equal."""

from __future__ import annotations

from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from tui.app import ConselfApp
from tui.widgets.home_line import HomeLine


def hide_this_computer(app: ConselfApp) -> None:
    """Show a computer, a model and a home that exist nowhere."""
    screen = app.screen
    for line in (found for one in app.screen_stack for found in one.query(HomeLine)):
        line.computer = "SmolLM2-135M-Instruct.Q4_1 · 8 cores · 9.1 GiB free"
    for machine_lines in screen.query("#machine-lines").results(Static):
        machine_lines.update("Linux, 8 cores, 16.0 GiB of memory (9.1 GiB free), 200 GiB of disk free\nno GPU")
    for models in screen.query("#models").results(OptionList):
        models.set_options([Option("bundled: SmolLM2 135M Instruct\n  Q4_1, 92 MiB")])
    for values in screen.query("#values").results(Static):
        values.update(str(values.visual).replace(str(app.app_state.home.path), "/home/ada/.local/share/conself"))
