"""Collect what a check of a card found, and print it as a table in Markdown with ratios and verdicts."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

HEADER = ("check", "measured", "against", "ratio", "goal", "verdict")


@dataclass
class Report:
    """The rows of the table so far, and the time that is left."""

    seconds: float
    """Time that the whole check may take."""
    rows: list[tuple[str, ...]] = field(default_factory=list)
    failed: bool = False
    started: float = field(default_factory=time.monotonic)

    @property
    def seconds_left(self) -> float:
        """Return the time that is left."""
        return self.seconds - (time.monotonic() - self.started)

    def add(
        self, check: str, measured: str, against: str, ratio: float | None, goal: str, ok: bool | None, shown: str = ""
    ) -> None:
        """Add a row and print it; `ok` is None if the row only informs. `shown` replaces the printed ratio."""
        verdict = "" if ok is None else "ok" if ok else "MISSED"
        self.failed |= ok is False
        text = shown or ("" if ratio is None else f"{ratio:.3g}")
        self._append((check, measured, against, text, goal, verdict))

    def skip(self, check: str, why: str) -> None:
        """Add a row for a check that was not made."""
        self._append((check, f"skipped: {why}", "", "", "", ""))

    def run(self, check: str, seconds: float, part: Callable[[], None]) -> None:
        """Run a part that takes about `seconds` on a slow card; an error in it is a row, and the next part follows."""
        if self.seconds_left < seconds:
            self.skip(check, f"{self.seconds_left:.0f} s are left, and it may take {seconds:.0f} s")
            return
        try:
            part()
        except Exception as error:
            self.failed = True
            text = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            self._append((check, f"failed: {text}", "", "", "", "MISSED"))

    def _append(self, row: tuple[str, ...]) -> None:
        self.rows.append(row)
        print(f"  {time.monotonic() - self.started:5.0f} s  " + " | ".join(part for part in row if part), flush=True)

    def table(self) -> str:
        """Return the table in Markdown."""
        lines = [HEADER, ("---",) * len(HEADER), *self.rows]
        return "\n".join("| " + " | ".join(cell.replace("|", "/") for cell in line) + " |" for line in lines)
