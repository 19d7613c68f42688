"""Show a question that several programs answer: the first answer, the verdict, and the one question to the user."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Protocol

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen

from conself_local.serving.verdict import Choice, OpenQuestion, Verdict
from tui.widgets.panel import Panel
from tui.widgets.plain import Plain, PlainLabel
from tui.widgets.source_view import SourceView

_KEYS = "x: stop    Esc: close"
_ASKING = "a, b: this is right    n: neither    Esc: skip"
_DONE = "Esc: close"


class Asked(Protocol):
    """The methods of a question that the dialog uses."""

    def run(self) -> Verdict:
        """Return the answer to show; runs in a thread."""

    def stop(self) -> None:
        """Let `run` return what is known so far."""

    def take_word(self, question: OpenQuestion, choice: Choice) -> Verdict:
        """Return the answer to show after the user has answered the one question."""


MakeAsked = Callable[[Callable[[str], None], Callable[[str], None]], Asked]
"""Makes a question from what is called with new text of the first answer and with sentences about the comparison."""


class BestOfDialog(ModalScreen[None]):
    """A question while its programs are sampled, run and compared; `keep` stores the user's answer to the one question.

    expected: the errors that are shown, each as the line that `format_error` returns.
    """

    DEFAULT_CSS = """
    BestOfDialog { align: center middle; }
    BestOfDialog > Vertical {
        width: 96%; height: 90%; border: thick $accent; padding: 0 1; background: $surface;
    }
    BestOfDialog Horizontal { height: 1fr; }
    BestOfDialog #best-verdict { height: auto; max-height: 4; text-style: bold; }
    BestOfDialog #best-question { height: auto; max-height: 6; }
    BestOfDialog.-narrow Horizontal { layout: vertical; }
    """
    HORIZONTAL_BREAKPOINTS: list[tuple[int, str]] | None = [(0, "-narrow"), (100, "-wide")]  # noqa: RUF012
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("a", "choose('a')", "a is right"),
        Binding("b", "choose('b')", "b is right"),
        Binding("n", "choose('neither')", "Neither"),
        Binding("x", "stop", "Stop"),
        Binding("escape", "close", "Close"),
    ]

    def __init__(
        self,
        make_asked: MakeAsked,
        keep: Callable[[OpenQuestion, Choice], None],
        expected: tuple[type[Exception], ...],
        format_error: Callable[[Exception], str],
    ) -> None:
        super().__init__()
        self._asked = make_asked(self._on_text, self._on_progress)
        self._keep, self._expected, self._format_error = keep, expected, format_error
        self._text = ""
        self._question: OpenQuestion | None = None
        self._undecided = True

    def compose(self) -> ComposeResult:
        with Vertical():
            yield PlainLabel("Loading the model ...", id="best-verdict")
            with Horizontal():
                with Panel(heading="Answer", id="best-first-panel"):
                    yield SourceView(id="best-first")
                with Panel(heading="Answer b", id="best-second-panel"):
                    yield SourceView(id="best-second")
            yield Plain("", id="best-question")
            yield PlainLabel(_KEYS, id="best-keys", classes="dim")

    def on_mount(self) -> None:
        self.query_one("#best-second-panel", Panel).display = False
        self._ask()

    @work(thread=True, group="best-of")
    def _ask(self) -> None:
        try:
            verdict = self._asked.run()
        except self._expected as error:
            self.app.call_from_thread(self._failed, self._format_error(error))
            return
        self.app.call_from_thread(self._show, verdict)

    def _on_text(self, new: str) -> None:
        self._text += new
        if self.is_attached:
            self.app.call_from_thread(self._draw_first, self._text)

    def _on_progress(self, sentence: str) -> None:
        if self.is_attached:
            self.app.call_from_thread(self._draw_verdict, f"comparing: {sentence}")

    def _draw_first(self, text: str) -> None:
        if self.is_attached:
            self.query_one("#best-first", SourceView).show(text, python=False)
            if self._undecided:
                self._draw_verdict("The first answer; other programs will be compared with it.")

    def _draw_verdict(self, sentence: str) -> None:
        if self.is_attached:
            self.query_one("#best-verdict", PlainLabel).update(sentence)

    def _failed(self, message: str) -> None:
        self._undecided = False
        self._draw_verdict(f"! {message}")
        self._draw_keys(_DONE)

    def _show(self, verdict: Verdict) -> None:
        """Show the verdict, both answers if the model is not sure, and the one question if there is one."""
        self._undecided = False
        if not self.is_attached:
            return
        self._draw_verdict(verdict.reason)
        first, second = self.query_one("#best-first", SourceView), self.query_one("#best-second", SourceView)
        heading = self.query_one("#best-first-panel", Panel).set_heading
        self.query_one("#best-second-panel", Panel).display = verdict.other is not None
        if verdict.other is not None:
            heading("Answer a")
            first.show(verdict.code)
            second.show(verdict.other)
        else:
            heading("Answer")
            first.show(verdict.answer, python=False)
        self._question = verdict.question
        lines = verdict.question.lines() if verdict.question else ()
        self.query_one("#best-question", Plain).update("\n".join(lines))
        self._draw_keys(_ASKING if verdict.question else _DONE)

    def _draw_keys(self, text: str) -> None:
        if self.is_attached:
            self.query_one("#best-keys", PlainLabel).update(text)

    def action_choose(self, choice: Choice) -> None:
        question, self._question = self._question, None
        if question is not None:
            self._keep(question, choice)
            self._show(self._asked.take_word(question, choice))

    def action_stop(self) -> None:
        if self._undecided:
            self._asked.stop()
            self._draw_verdict("Stopping ...")

    def action_close(self) -> None:
        self.dismiss()

    def on_unmount(self) -> None:
        """Stop a question that is not decided yet."""
        if self._undecided:
            self._asked.stop()
