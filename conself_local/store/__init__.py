"""SQLite through sqlite-utils: the queue, the log and the truth of every round."""
