"""The disk space of a home, and its copies: what takes space, what can be removed, backup and restore."""
