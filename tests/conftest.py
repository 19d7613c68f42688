"""Set how OpenMP threads wait for models that tests load in their own process, as the program does."""

from __future__ import annotations

import os

from conself_local.machine.child_environment import openmp_waiting

os.environ |= openmp_waiting()
