"""The one error root of the core: a message that says what is wrong and a hint that says what to do.

What a *program* does is data (`sandbox.Status`); what goes wrong around it raises one of these.
"""

from __future__ import annotations

EXIT_OK = 0
EXIT_FAILED = 1
"""The command ran, and what it checked did not hold (`conself verify` found a difference)."""
EXIT_USAGE = 2
"""Something the user gave, or the machine, stands in the way; the message says what to do."""
EXIT_STOPPED = 130
"""Stopped by the user; the next start goes on."""


class ConselfError(Exception):
    """Something the user can mend: `message` says what is wrong, `hint` what to do about it."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class EngineDiedError(ConselfError):
    """The engine process ended without an answer, twice in a row."""


class TrainingFailedError(ConselfError):
    """The trainer process ended without an adapter; its last checkpoint is kept."""


class StoppedError(ConselfError):
    """The user asked for a stop; everything stored stays, and the next start goes on."""
