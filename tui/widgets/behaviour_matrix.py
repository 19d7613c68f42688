"""Draw programs by inputs: equal letters and colours in a column mean equal outputs.

The inputs and their most frequent outputs are listed below the matrix.
"""

from __future__ import annotations

from rich.text import Text

from conself_local.foreign_text import shown
from conself_local.round.views import ProblemView
from tui.widgets.plain import Plain

_COLOURS = ("green", "yellow", "cyan", "magenta", "blue", "red", "bright_green", "bright_yellow")
_MOST_OUTPUTS = 8


class BehaviourMatrix(Plain):
    """The matrix of one problem, with the list of its inputs and their most frequent outputs."""

    DEFAULT_CSS = "BehaviourMatrix { width: auto; text-wrap: nowrap; }"

    def show(self, view: ProblemView) -> None:
        """Draw one row per program, the largest cluster first, and one column per input.

        Augmented inputs come after `|`; `x` means that the program failed on this input.
        """
        text = Text("No program has been run yet." if not view.programs else "", no_wrap=True)
        letters = [
            _letters([p.outputs[i] for p in view.programs for _ in range(p.samples)]) for i in range(len(view.inputs))
        ]
        if view.programs:
            numbers = [f"{i + 1:>2}" + (" |" if i + 1 == view.given else "") for i in range(len(view.inputs))]
            text.append(f"cluster times  {' '.join(numbers)}\n", "bold")
        for program in view.programs:
            name = "crashed" if program.cluster is None else chr(ord("A") + program.cluster % 26)
            text.append(f"{name:<8}{program.samples:>4}x  ")
            for i, output in enumerate(program.outputs):
                letter = "x" if output is None else letters[i][output]
                text.append(
                    f" {letter} ", "dim" if output is None else _COLOURS[(ord(letter) - ord("a")) % len(_COLOURS)]
                )
                if i + 1 == view.given:
                    text.append(" |")
            text.append("\n")
        for i, given in enumerate(view.inputs):
            outputs = list(letters[i].items())[:_MOST_OUTPUTS] if view.programs else []
            text.append(f"\n{i + 1:>2}{' augmented' if i >= view.given else ''}: {shown(given[:100])}\n")
            for output, letter in outputs:
                text.append(f"     {letter}  {shown(output[:100])}\n", "dim")
        self.update(text)


def _letters(outputs: list[str | None]) -> dict[str, str]:
    """Return the letter of each output: `a` for the most frequent one; from the 23rd on all share `w`."""
    counts = {o: outputs.count(o) for o in outputs if o is not None}
    ranked = sorted(counts, key=lambda o: (-counts[o], outputs.index(o)))
    return {output: chr(ord("a") + min(i, 22)) for i, output in enumerate(ranked)}
