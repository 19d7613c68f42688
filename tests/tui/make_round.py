"""Make `real_round.db`, the store that the screens are tested on: one small real round with the bundled model.

    python -m tests.tui.make_round

Afterwards only the paths and the dates are replaced by fixed ones, because they would name this computer and this day.
"""

from __future__ import annotations

import sqlite3
import tempfile
from pathlib import Path

from tests.fakes.small_round import run_arguments, run_conself, write_problems

TARGET = Path(__file__).parent / "real_round.db"


def main() -> None:
    """Run the round, and write its store to TARGET."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        done = run_conself(home, *run_arguments(write_problems(Path(folder) / "problems.jsonl"), slots=8))
        if done.returncode:
            raise SystemExit(done.stderr)
        TARGET.unlink(missing_ok=True)
        with sqlite3.connect(home / "conself.db") as source:
            source.execute(
                "update rounds set model_path = '/models/SmolLM2-135M-Instruct.Q4_1.gguf', created_at_utc = '2026-01-01T00:00:00+00:00'"
            )
            source.execute("update rounds set request = json_set(request, '$.problems', '/problems/small.jsonl')")
            source.execute(
                "update adapters set peft_path = '', path = '/adapters/round-1/adapter.gguf', model_path = '/models/m.gguf'"
            )
            source.execute("update adapters set created_at_utc = '2026-01-01T00:00:00+00:00'")
            source.commit()
            source.execute("vacuum into ?", [str(TARGET)])
        print(f"{TARGET}: {TARGET.stat().st_size >> 10} KiB")


if __name__ == "__main__":
    main()
