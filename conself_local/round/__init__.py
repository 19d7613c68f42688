"""A round as a whole: open it, run its stages, watch it, verify it. Read `run.py` first."""
