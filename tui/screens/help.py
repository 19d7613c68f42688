"""Every screen's keys, and the words that are used."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Footer, Static

from tui.screens.base import BaseScreen

GLOSSARY = {
    "semantic entropy": "how much the programs for one problem disagree in what they do, in bits; 0: all behave alike",
    "cluster": "programs that give the same outputs on all test inputs",
    "consensus": "how often a program agrees with the others, input by input, from 0 to 1",
    "learnable": "the model is unsure, but not lost: entropy above 0 and below the threshold, few crashes",
    "pair": "two programs for one prompt; training moves the model towards the one of higher consensus",
    "DPO": "direct preference optimisation: make the chosen likelier than the rejected, against the model as it was",
    "Con-DPO": "DPO where each pair counts by the consensus of its chosen program",
    "LoRA, adapter": "a small file of changes beside the model, which stays as it is",
    "displacement": "the chosen answers themselves become unlikely while the margin grows: a sign to stop",
    "pass@1": "the share of problems that one answer solves",
    "interval": "where the true difference lies in 95 of 100 cases; if it holds 0, nothing measurable changed",
    "held-out": "problems that neither training nor any choice has seen",
}


class HelpScreen(ModalScreen[None]):
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,question_mark,q", "dismiss(None)", "Back")]

    def __init__(self, screens: Sequence[type[BaseScreen]]) -> None:
        super().__init__()
        self._screens = screens

    def compose(self) -> ComposeResult:
        with VerticalScroll():
            yield Static(help_text(self._screens), markup=False)
        yield Footer(compact=True)


def help_text(screens: Sequence[type[BaseScreen]]) -> str:
    lines = ["Everywhere: 1-9 screens, ? help, ctrl+p all commands, r reload, q quit (the round goes on).", ""]
    for screen in screens:
        keys = [f"{b.key} {b.description}" for b in screen.BINDINGS if isinstance(b, Binding) and b.description]
        lines += [screen.NAME.upper(), f"  {screen.HELP}", f"  {'   '.join(keys)}", ""]
    width = max(map(len, GLOSSARY))
    return "\n".join([*lines, "WORDS", *(f"  {word:<{width}}  {meaning}" for word, meaning in GLOSSARY.items())])
