"""Show the keys of every screen, and a glossary."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Footer

from tui.screens.base import BaseScreen
from tui.widgets.plain import Plain

GLOSSARY = {
    "semantic entropy": "how much the programs for one problem differ in behaviour, in bits; 0: all behave alike",
    "cluster": "programs that give the same outputs on all test inputs",
    "consensus": "how often a program agrees with the others, input by input, from 0 to 1",
    "learnable": "the model is unsure but not lost: entropy above 0 and below the threshold, few crashes",
    "pair": "two programs for the same prompt; training moves the model towards the one with the higher consensus",
    "DPO": "direct preference optimisation: make the chosen program more likely than the rejected one, "
    "compared with the model before training",
    "Con-DPO": "DPO in which the weight of a pair is the consensus of its chosen program",
    "LoRA, adapter": "a small file of changes to the model; the model's own file does not change",
    "displacement": "the chosen answers themselves become less likely while the margin grows: a reason to stop",
    "pass@1": "the share of problems that are solved by a single answer",
    "interval": "contains the true difference in 95 of 100 cases; if it contains 0, there is no measurable change",
    "held-out": "problems that were used neither for training nor for any choice",
}


class HelpScreen(ModalScreen[None]):
    """The help over the present screen; Escape closes it."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,question_mark,q", "dismiss(None)", "Back")]

    def __init__(self, screens: Sequence[type[BaseScreen]]) -> None:
        super().__init__()
        self._screens = screens

    def compose(self) -> ComposeResult:
        with VerticalScroll():
            yield Plain(help_text(self._screens))
        yield Footer(compact=True)


def help_text(screens: Sequence[type[BaseScreen]]) -> str:
    """Return the keys of every screen with its HELP, then the glossary, as lines of plain text."""
    lines = ["On every screen: 1-9 screens, ? help, ctrl+p all commands, r reload, q quit (asks if a round runs).", ""]
    for screen in screens:
        keys = [f"{b.key} {b.description}" for b in screen.BINDINGS if isinstance(b, Binding) and b.description]
        lines += [screen.NAME.upper(), f"  {screen.HELP}", f"  {'   '.join(keys)}", ""]
    width = max(map(len, GLOSSARY))
    return "\n".join([*lines, "GLOSSARY", *(f"  {word:<{width}}  {meaning}" for word, meaning in GLOSSARY.items())])
