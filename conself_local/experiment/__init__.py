"""Experiments: settings compared with each other over several seeds."""
