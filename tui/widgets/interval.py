"""Draw differences in points with their 95 % intervals, on one axis that includes 0."""

from __future__ import annotations

from rich.text import Text

from tui.widgets.plain import Plain


class Interval(Plain):
    """One line per benchmark: name, interval on a shared axis, numbers."""

    DEFAULT_CSS = "Interval { height: auto; text-wrap: nowrap; }"

    def show(self, rows: dict[str, tuple[float, float, float]]) -> None:
        """Draw the rows: name -> (difference, low, high), as shares of problems from -1 to 1."""
        most = max([abs(v) for row in rows.values() for v in row] + [0.01])
        half = max(10, (min(self.size.width or 80, 120) - 40) // 2)

        def place(value: float) -> int:
            return half + round(half * value / most)

        lines = []
        for name, (difference, low, high) in rows.items():
            axis = [" "] * (2 * half + 1)
            for i in range(place(low), place(high) + 1):
                axis[i] = "─"
            axis[half] = "│"
            axis[place(difference)] = "●"
            lines.append(f"{name:<12} {''.join(axis)} {100 * difference:+.1f} ({100 * low:+.1f} to {100 * high:+.1f})")
        self.update(Text("\n".join(lines), no_wrap=True))
