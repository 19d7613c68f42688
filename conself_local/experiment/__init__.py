"""Experiments: compare settings with each other over several seeds."""
