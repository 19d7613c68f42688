"""Write `sandbox_workload.jsonl`: HumanEval's own solutions (MIT), 10 inputs each, every 20th solution broken.

Run it by hand: `python -m tests.benchmarks.make_sandbox_workload`. The file that it writes is checked in.
"""

from __future__ import annotations

import itertools
import json

from conself_local.problems.formats.human_eval import open_text, packaged_file, problems_of
from sandbox import Sandbox
from tests.benchmarks.sandbox_speed import WORKLOAD

INPUTS = 10


def main() -> None:
    """Write the workload; a problem whose inputs cannot be recorded is excluded."""
    with open_text(packaged_file()) as file:
        records = [json.loads(line) for line in file]
    inputs = {p.id: p.inputs for p in problems_of(records, Sandbox)[0]}
    with WORKLOAD.open("w", encoding="utf-8") as file:
        for n, record in enumerate(records):
            broken = n % 20 == 0
            given = inputs.get(record["task_id"])
            if not given:
                continue
            ten = list(itertools.islice(itertools.cycle(given), INPUTS))
            line = {
                "id": record["task_id"],
                "source": record["prompt"]
                + ("    return undefined_name\n" if broken else record["canonical_solution"]),
                "entry_point": record["entry_point"],
                "inputs": repr(ten),
            }
            file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
