"""A round as a whole. Read `run.py` first."""
