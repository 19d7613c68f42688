"""The method (ConSelf, arXiv 2603.29292) and its engines; knows no screen. Read `round.py` first."""

__version__ = "0.1.0"
