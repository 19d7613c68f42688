"""Run 20,000 programs and measure the memory of parent and fork servers, zombies, open descriptors and leftover files.

Run by hand: `python -m tests.benchmarks.sandbox_memory`. It exits with 1 if memory grows by 5 % or more after the first
2,000 programs, or if a zombie or an open descriptor is left.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from sandbox import Sandbox
from tests.benchmarks.sandbox_speed import WORKERS, load_programs

PROGRAMS, SETTLED = 20_000, 2_000


def resident_bytes(pids: list[int]) -> int:
    """Return the resident bytes of all the processes together, from /proc."""
    pages = [int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in pids]
    return sum(pages) * os.sysconf("SC_PAGE_SIZE")


def zombies(pids: list[int]) -> int:
    """Return how many dead children of `pids` have not been reaped.

    One per server can be the child of the last program, or the spare child that was just requested.
    """
    found = 0
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            found += fields[0] == "Z" and int(fields[1]) in pids
    return found


def main() -> None:
    """Run the programs, print what was measured, and exit with 1 if something grew or was left."""
    before, files = len(os.listdir("/proc/self/fd")), set(os.listdir("/tmp"))
    with Sandbox(workers=WORKERS, inputs="together", repeat=False) as box:
        settled = 0
        for n, _ in enumerate(box.run(load_programs(PROGRAMS)), 1):
            if n == SETTLED:
                settled = resident_bytes([os.getpid(), *box.server_pids])
        pids = [os.getpid(), *box.server_pids]
        at_the_end, dead = resident_bytes(pids), zombies(pids)
    left = len(os.listdir("/proc/self/fd")) - before
    growth = at_the_end / settled - 1
    print(
        f"{PROGRAMS} programs; resident {settled / 2**20:.1f} MiB after {SETTLED}, {at_the_end / 2**20:.1f} MiB at the end: {growth:+.1%}"
    )
    print(f"zombies {dead}, descriptors left open {left}, new files in /tmp {len(set(os.listdir('/tmp')) - files)}")
    sys.exit(growth >= 0.05 or dead > 0 or left > 0)


if __name__ == "__main__":
    main()
