"""The store of a home, SQLite through sqlite-utils: queue, log and single source of truth of every round."""
