"""Show the help of the present screen first; then all keys and all words, which can be searched."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import wrap
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen, Screen
from textual.widgets import Input

from conself_local.foreign_text import shown
from tui.design import ACTIVE, MUTED
from tui.screens.base import BaseScreen
from tui.widgets.dialog import dialog_box
from tui.widgets.plain import Plain, title

EVERYWHERE = (
    ("1-9, F1-F9", "open a screen; the F keys also from inside a text field"),
    ("F10", "make the part with the focus fill the screen; F10 or Esc undoes it"),
    ("Tab, Shift+Tab", "next and previous part of the screen"),
    ("↑ ↓, j k, Home End", "move in a table, as do Page Up and Page Down"),
    ("Enter, Esc", "open; go back, or close without effect: Esc never stops, deletes or quits anything"),
    ("s, p, x", "start or continue the round, hold and resume it, stop it (asks)"),
    ("space", "mark: leave a pair out, or take it back"),
    ("a, b, u", "keep an adapter, put it aside, undo that"),
    ("e, i, n, Delete", "export, import (or go into the field), rename, delete (asks) or take back a setting"),
    ("/, o, v, m, [ ]", "filter, order, next group, measure or more, other texts"),
    ("← →", "change what the cursor is on: the cut, the input"),
    (", .", "the round before, the round after: problems, pairs, training and evaluation"),
    ("w, c", "all notices, next chart"),
    ("Ctrl+S, Ctrl+R", "start, keep or send what the fields hold; run both programs"),
    ("r, t, ?", "read again, change the theme, this help"),
    ("Ctrl+P", "all commands by name"),
    ("q", "quit; asks if a round runs"),
)
SIGNS = (
    ("·  ▶  ‖  ✓", "not begun, running, held, done or good"),
    ("!  ✗  –", "look at this, failed, left out"),
    ("◆  ▽  ▲", "learnable, too easy, too hard"),
    ("★  =  ?", "in use, no measurable change, not measured"),
)
GLOSSARY = {
    "disagreement": "how much the programs for one problem differ in behaviour (semantic entropy, bits); 0: all alike",
    "group": "programs that give the same outputs on all test inputs (a cluster)",
    "agrees": "how often a program agrees with the others, input by input, from 0 to 1 (consensus)",
    "learnable": "the model is unsure but not lost: its programs disagree, by less than the cut, and few crash",
    "cut": "the threshold on normalised disagreement; problems below it are selected",
    "added inputs": "test inputs that the round made itself, as far as they tell programs apart (augmented inputs)",
    "pair": "two programs for the same prompt; training moves the model towards the one with which more agree",
    "DPO": "direct preference optimisation: make the chosen program more likely than the rejected one, "
    "compared with the model before training",
    "Con-DPO": "DPO in which the weight of a pair is the consensus of its chosen program",
    "adapter": "a small file of changes to the model (LoRA); the model's own file does not change",
    "displacement": "the chosen answers themselves become less likely while the margin grows: a reason to stop",
    "margin": "how much more the training prefers chosen to rejected programs than the model before it did",
    "solved at first try": "the share of problems that are solved by a single answer (pass@1)",
    "judge": "ask the model before and after the round the same problems, and compare (evaluate)",
    "interval": "contains the true difference in 95 of 100 cases; if it contains 0, there is no measurable change",
    "held-out": "problems that were used neither for training nor for any choice",
}
_KEY_NAMES = {"slash": "/", "right_square_bracket": "[ ]", "question_mark": "?", "left": "←", "right": "→"}


@dataclass(frozen=True)
class Section:
    """A heading and what stands below it: pairs of a word or key and its meaning, or whole sentences."""

    heading: str
    rows: tuple[tuple[str, str], ...]


def screen_section(screen: type[BaseScreen]) -> Section:
    """Return what one screen shows, and its keys."""
    bindings = [b for kind in screen.__mro__ if kind is not BaseScreen for b in kind.__dict__.get("BINDINGS", [])]
    keys = [
        (b.key_display or _KEY_NAMES.get(b.key, b.key), b.description)
        for b in bindings
        if isinstance(b, Binding) and b.description and b.show
    ]
    return Section(screen.NAME.capitalize(), (("", screen.HELP), *dict.fromkeys(keys)))


def everything(screens: Sequence[type[BaseScreen]]) -> list[Section]:
    """Return all keys, signs and words, then every screen."""
    return [
        Section("Keys, on the screens that have them", EVERYWHERE),
        Section("Signs", SIGNS),
        Section("Words", tuple(GLOSSARY.items())),
        *(screen_section(screen) for screen in screens),
    ]


def matching(sections: Sequence[Section], wanted: str) -> list[Section]:
    """Return the rows that hold the words of `wanted`, in any order and either case, below their headings."""
    words = wanted.lower().split()
    found = []
    for section in sections:
        rows = tuple(r for r in section.rows if all(w in f"{section.heading} {r[0]} {r[1]}".lower() for w in words))
        if rows:
            found.append(Section(section.heading, rows))
    return found


class HelpScreen(ModalScreen[None]):
    """The help over the present screen; Tab turns to all keys and words, / searches them, Esc closes it."""

    AUTO_FOCUS = "VerticalScroll"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "back", "Back", priority=True),
        Binding("question_mark,q", "dismiss(None)", "Back", show=False),
        Binding("slash", "find", "Find"),
        Binding("tab", "turn", "All keys and words", priority=True),
    ]

    def __init__(self, present: Screen[object] | None, screens: Sequence[type[BaseScreen]]) -> None:
        super().__init__()
        self._present = next((type(present) for one in screens if type(present) is one), None)
        self._sections = everything(screens)
        self._all = self._present is None

    def compose(self) -> ComposeResult:
        with dialog_box(keys="Tab turns   / finds   Esc closes", large=True):
            yield Input(placeholder="find a word or a key in everything", id="find", compact=True)
            with VerticalScroll():
                yield Plain("", id="help-text")

    def on_mount(self) -> None:
        self.call_after_refresh(self._draw)

    def on_resize(self) -> None:
        self.call_after_refresh(self._draw)

    @on(Input.Changed, "#find")
    def _draw(self) -> None:
        wanted = self.query_one("#find", Input).value
        box = self.query_one(".dialog")
        if wanted.strip():
            sections = matching(self._sections, wanted)
            box.border_title = title(f"Help  {sum(len(s.rows) for s in sections)} found")
        elif self._all or self._present is None:
            sections, box.border_title = self._sections, title("Help  all keys and words")
        else:
            sections = [screen_section(self._present), self._sections[0]]
            box.border_title = title("Help  this screen")
        self.query_one("#help-text", Plain).update(help_text(sections, self.query_one(VerticalScroll).size.width - 2))
        self.query_one(VerticalScroll).scroll_home(animate=False)

    @on(Input.Submitted, "#find")
    def _found(self) -> None:
        self.query_one(VerticalScroll).focus()

    def action_find(self) -> None:
        self.query_one("#find").focus()

    def action_turn(self) -> None:
        self._all = not self._all
        self.query_one("#find", Input).value = ""
        self._draw()

    def action_back(self) -> None:
        """Leave the field first, then close."""
        if isinstance(self.focused, Input):
            self.query_one(VerticalScroll).focus()
        else:
            self.dismiss(None)


def help_text(sections: Sequence[Section], room: int) -> Content:
    """Return the sections as lines of text, none longer than `room`; meanings stay in their column."""
    if not sections:
        return Content.styled("Nothing holds these words.", MUTED)
    lines: list[Content] = []
    for section in sections:
        lines.append(Content.styled(shown(section.heading), "bold underline"))
        width = max((len(word) for word, _ in section.rows), default=0)
        for word, meaning in section.rows:
            indent = width + 4 if word else 2
            wrapped = wrap(shown(meaning), max(20, room - indent)) or [""]
            lines.append(Content.assemble((f"  {word:<{width}}  " if word else "  ", ACTIVE), wrapped[0]))
            lines += [Content(" " * indent + line) for line in wrapped[1:]]
        lines.append(Content(""))
    return Content("\n").join(lines)
