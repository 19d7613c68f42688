"""The adapter as a file: formats, import, export, and merging into the user's own model."""
