"""Models that tests load in their own process: threads that soon wait asleep, as in the program's processes."""

from __future__ import annotations

import os

from conself_local.machine.child_environment import openmp_waiting

os.environ |= openmp_waiting()
