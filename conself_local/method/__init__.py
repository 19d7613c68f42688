"""The method: pure functions over plain values; no I/O, no torch, no store. Source: arXiv 2603.29292."""
