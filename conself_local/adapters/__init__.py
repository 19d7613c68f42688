"""Adapters as files: formats, import, export, and merging into the user's model."""
