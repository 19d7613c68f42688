"""Improve a local coding model with its own samples: the core of conself-local, without any screen.

A newcomer starts at `round/run.py`, which runs the stages of one round in order, and then reads `method/`, which holds
the formulas of the paper as pure functions. `settings/` describes every setting of a round.

Not covered: the terminal interface (package `tui`) and the sandbox that runs the programs (package `sandbox`).
Source: arXiv 2603.29292 (ConSelf).
"""

__version__ = "0.1.0"
